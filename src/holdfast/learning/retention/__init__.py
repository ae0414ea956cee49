"""Strategies: explicit devices against forgetting, added to any way of learning.

    retention: {kind: er, share: 0.1}              # one
    retention: [{kind: er}, {kind: ewc}]           # or several, in this order
    retention: {kind: rules.py:Mine, strength: 2}  # or your own: a class made from Strategy

A strategy is a class with its settings and up to seven hooks: `begin` and `end` of a stage, and in each of
its iterations `batch` (which examples), `collected` (what is learned from them), `gradient` and `rate` (of a
step) and `stepped` (the weights after it). What it has learned of earlier stages are
tensors that `end` returned there; they lie beside the stage's weights in the store. What it holds within a
stage are tensors in `memory`; they lie in the step checkpoint, so that a killed stage goes on to the same
bits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import ValidationError

from holdfast import plugins
from holdfast.errors import InputError, none_of
from holdfast.settings import Settings

if TYPE_CHECKING:
    import torch

    from holdfast.generate.rollouts import Item
    from holdfast.learning.groups import Groups
    from holdfast.learning.methods import Method
    from holdfast.learning.stage import Stage
    from holdfast.tasks.prompts import Target

KINDS = {  # modules here and their classes, loaded when they are used
    # replay
    "agem": "agem:AveragedGEM",
    "cpr": "cpr:CPR",
    "der": "der:DarkReplay",
    "er": "er:ExperienceReplay",
    "forever": "forever:Forever",
    "gem": "gem:GEM",
    "holdfast": "holdfast:OwnAnswerGuard",
    "opr": "opr:OwnAnswerReplay",
    "rad": "rad:RecallAnchoredDistillation",
    "remind": "remind:Remind",
    # function space
    "asft": "asft:AnchoredSFT",
    "chord": "chord:CHORD",
    "kl_old": "kl_old:KLOnOldPrompts",
    "lwf": "lwf:LearningWithoutForgetting",
    "mcpo": "mcpo:MCPO",
    "opd": "opd:OnPolicyDistillation",
    "rapo": "rapo:RaPO",
    "tmkl": "tmkl:TargetMaskedKL",
    # weights
    "cpo": "cpo:CPO",
    "ewc": "ewc:OnlineEWC",
    "ewc_sum": "ewc:SummedEWC",
    "hft": "hft:HalfFineTuning",
    "l2": "l2:L2",
    "mas": "mas:MAS",
    "mofo": "mofo:MoFO",
    "rwalk": "rwalk:RiemannianWalk",
    "sam": "sam:SharpnessAware",
    "si": "si:SynapticIntelligence",
    "ssu": "ssu:SSU",
    # rates and weights of what is learned
    "finch": "finch:FINCH",
    "flow": "flow:FLOW",
    # subspaces
    "gpm": "gpm:GPM",
    "keeplora": "keeplora:KeepLoRA",
    "ogd": "ogd:OGD",
    "olora": "olora:OLoRA",
    "osft": "osft:OSFT",
    "reglora": "reglora:RegLoRA",
    # merging
    "dare": "taskvectors:Dare",
    "ema": "ema:EMA",
    "fisher_merge": "fisher_merge:FisherMerge",
    "lines": "lines:LiNeS",
    "magmax": "taskvectors:MagMax",
    "ties": "taskvectors:Ties",
    "wise": "wise:WiSE",
}
Memory = dict[str, "torch.Tensor"]  # what a strategy holds, or leaves to the next stage


@dataclass(frozen=True)
class Distributions:
    """Whole distributions over the vocabulary that a pass holds, with the graph of what they are of.

    Attributes:
        tables: float32 numbers at once for each token and entry of the vocabulary.
        prompts, completions: of the pass, before `micro_batch` splits it, and of each prompt.
        entries: the most that one table has, but for a single prompt; None: no bound.
        tokens: of a completion; None: as many as the method's have.
    """

    tables: int
    prompts: int
    completions: int
    entries: int | None = None
    tokens: int | None = None


class Strategy(Settings):
    """Hooks that do nothing. Settings of a strategy are fields of its class.

    Attributes:
        rehearses: whether it looks at the training examples of earlier tasks (`stage.earlier`).
        takes_places: whether these replace new ones of a batch; of two such, one would undo the other.
        copies: float32 numbers that it holds for each trained one, at its largest moment.
        files: settings that name files of the user's; of kinds of ours relative to the experiment's. What
            they hold counts in fingerprints, and not where they lie.
        adapters: True: it is for LoRA alone (`model.lora`); False: for whole weights alone; None: for both.
    """

    rehearses: ClassVar[bool] = False
    takes_places: ClassVar[bool] = False
    copies: ClassVar[float] = 0
    files: ClassVar[tuple[str, ...]] = ()
    adapters: ClassVar[bool | None] = None

    kind: str

    @property
    def name(self) -> str:
        """The kind; of the user's own, the class."""
        return self.kind.rpartition(":")[2]

    def results_version(self, method: Method) -> int:
        """Raised where a stage of this method comes out otherwise for the same settings; 1 is no input."""
        return 1

    def determining(self) -> dict[str, Any]:
        """The settings that can change what it does, as plain data.

        Raises:
            InputError: a file cannot be read.
        """
        settings = self.model_dump(mode="json")
        given = {name: getattr(self, name) for name in self.files}
        return settings | {name: plugins.file_hash(path) for name, path in given.items() if path is not None}

    def unreadable(self) -> str | None:
        """What is wrong with the user's files; None where nothing is."""
        return None

    @property
    def looks_at(self) -> Literal["base", "stage_start"] | None:
        """The policy that it keeps besides the one that learns (`stage.past`), if any."""
        return None

    def passes(self, method: Method) -> float:
        """Forward passes over an iteration's groups that it adds, from the second stage on; a training pass
        is three. What depends on how right answers are is not known before, and not counted."""
        return 0

    def distributions(self, method: Method) -> Distributions | None:
        """What it holds of the vocabulary at once, if anything."""
        return None

    def unfit(self, method: Method) -> str | None:
        """Why it cannot be used with a method; None if it can."""
        return None

    def imitates(self, method: Method) -> Target | None:
        """What it makes of references, besides what the method itself learns to write; None: nothing."""
        return None

    def least_rank(self, stages: int) -> int:
        """The rank that LoRA must have for a sequence of so many stages."""
        return 0

    def begin(self, stage: Stage, memory: Memory) -> None:
        """Before the first step, and again when a killed stage goes on: the policy is as the stage found it.

        Args:
            memory: empty; what is put there is kept, and replaced by what a checkpoint holds of it.
        """

    def batch(self, stage: Stage, memory: Memory, items: list[Item], iteration: int) -> list[Item]:
        """The examples of an iteration."""
        return items

    def collected(self, stage: Stage, memory: Memory, groups: Groups) -> Groups:
        """What an iteration learns from: advantages, references, targets; `groups.items` are its examples."""
        return groups

    def gradient(self, stage: Stage, memory: Memory, groups: Groups) -> dict[str, float]:
        """Change the gradients of a step, or add to them, before they are clipped.

        Called once a step, when every trained parameter that the loss depends on has its `grad`.

        Returns:
            Numbers for the step's row in the log; `NAME_share`, the norm of what was added over that of
            the whole gradient, tells a reader whether it did anything.
        """
        return {}

    def rate(self, stage: Stage, memory: Memory, rate: float, loss: float) -> float:
        """The learning rate of a step that is about to be made.

        Args:
            rate: the schedule's, or that of the strategy before.
            loss: of the step.
        """
        return rate

    def stepped(self, stage: Stage, memory: Memory, optimizer: torch.optim.Optimizer) -> dict[str, float]:
        """After each optimiser step that was made; it may change weights.

        Returns:
            Numbers for the step's row in the log.
        """
        return {}

    def end(self, stage: Stage, memory: Memory) -> Memory:
        """After the last step, before the policy is saved: what the next stage's strategy inherits.

        It may change weights.
        """
        return {}


class Continuing(Strategy):
    """What it holds at the end of a stage, it holds at the beginning of the next one."""

    def begin(self, stage: Stage, memory: Memory) -> None:
        memory |= stage.inherited.get(self.name, {})

    def end(self, stage: Stage, memory: Memory) -> Memory:
        return dict(memory)


def strategy_class(kind: Any) -> type[Strategy]:
    """The class of a kind.

    Raises:
        InputError: there is none.
    """
    if plugins.is_reference(kind):
        return plugins.load_class(str(kind), Strategy)
    if not isinstance(kind, str) or kind not in KINDS:
        raise InputError(f"kind {none_of(kind, KINDS, own='FILE.py:CLASS')}")
    return plugins.load_own(f"{__name__}.{KINDS[kind]}")


def parse_strategies(value: Any) -> tuple[Strategy, ...]:
    """A mapping, or a list of them, as strategies of the classes that their kinds name.

    Raises:
        ValueError: one is wrong.
    """
    given = value if isinstance(value, list | tuple) else [] if value is None else [value]
    made = tuple(map(_strategy, given))
    names = [one.name for one in made]
    if len(set(names)) < len(names):
        raise ValueError("names a kind twice; keep one of them")
    return made


def _strategy(given: Any) -> Strategy:
    """One of them.

    Raises:
        ValueError: it is wrong.
    """
    if isinstance(given, Strategy):
        return given
    if not isinstance(given, Mapping) or "kind" not in given:
        raise ValueError("must be a mapping such as {kind: er}, or a list of them")
    try:
        kind = strategy_class(given["kind"])
        return kind.model_validate(dict(given))
    except InputError as error:
        raise ValueError(str(error)) from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))  # none where settings do not go together
        text = first["msg"].replace("Input should be", "must be").replace("Value error, ", "")
        if first["type"] == "extra_forbidden":
            text = f"there is no such setting; there is {', '.join(kind.model_fields)}"
        elif first["type"] == "missing":
            text = "is missing; it has no default"
        said = (given["kind"], place, f"{text[0].lower()}{text[1:]}")
        raise ValueError(": ".join(filter(None, said))) from None
