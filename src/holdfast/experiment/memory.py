"""Device memory of a worker, estimated before a run.

What is exact: weights, gradients, the optimiser's state and the reference, each the number of
parameters times their size. What is worked out from the model's shape: activations, as what autograd
keeps for a packed group-wise pass (`policy/groups.py`), and the keys and values of sampling. What
is a bound: every prompt, image and target is as large as the largest (of a model that is not at hand to
look at rows, as `max_pixels` allows), every completion as long as `max_tokens`, and a part of a batch as
large as `token_budget` (or the batch) allows.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from holdfast.config.experiment import Experiment
from holdfast.experiment.architecture import Architecture, Tower
from holdfast.experiment.devices import CONTEXT, PROGRAM
from holdfast.experiment.fitting import Largest, largest
from holdfast.experiment.identity import model_folder
from holdfast.files import read_json
from holdfast.learning.methods import Method, OptimizerState
from holdfast.learning.retention import Distributions
from holdfast.policy.settings import ModelSettings

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
ADAPTER_BYTES = 4  # adapters are trained in float32
TEXT_TOKENS = 256  # of a question with its instruction and the chat template, where rows were not looked at
TARGET_TOKENS = 64  # of a reference answer, likewise
KEPT_LOGITS = 2**25  # as `policy/logprobs.py` bounds them
MAX_PIXELS = 16384 * 28 * 28  # where neither the settings nor the processor's file say: Qwen2.5-VL's own
# Room beyond the tensors, for the allocator's gaps; a process takes more (CONTEXT, PROGRAM).
SLACK = 1.08


@dataclass(frozen=True)
class Pass:
    """Prompts that are computed together.

    Attributes:
        prompts, prompt, group, completion: number of prompts, tokens of each, completions of each,
            tokens of each completion.
        patches: image patches of all prompts.
    """

    prompts: int
    prompt: int
    group: int
    completion: int
    patches: int

    @property
    def each(self) -> int:
        """Tokens of a prompt with its completions."""
        return self.prompt + self.group * self.completion

    @property
    def tokens(self) -> int:
        return self.prompts * self.each


@dataclass(frozen=True)
class Estimate:
    """Bytes of one worker at its largest moment.

    Attributes:
        parts: what stays, by name.
        learning, sampling: what comes on top while it learns and while it samples, never both.
    """

    parts: Mapping[str, int]
    learning: int
    sampling: int

    @property
    def state(self) -> int:
        """Weights and what is kept as long as they: exact, and there whatever the examples are."""
        return sum(size for name, size in self.parts.items() if name != "images")

    @property
    def total(self) -> int:
        return sum(self.parts.values()) + max(self.learning, self.sampling)

    def text(self) -> str:
        """The parts in words, the largest first."""
        parts = dict(self.parts)
        if self.learning >= self.sampling:
            parts["activations"] = self.learning
        else:
            parts["sampling (keys and values)"] = self.sampling
        largest = sorted((item for item in parts.items() if item[1]), key=lambda item: -item[1])
        return ", ".join(f"{name} {gigabytes(size)}" for name, size in largest)


def gigabytes(size: float) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"


def largest_rows(known: Architecture, experiment: Experiment) -> Largest:
    """The tokens of the largest rows, as they were looked at, or else as settings allow."""
    if (found := largest(experiment)) is None:
        return assumed(known, largest_image(experiment.model))
    return replace(found, target=found.target or TARGET_TOKENS)


def assumed(known: Architecture, max_pixels: int) -> Largest:
    """Tokens of rows that were not looked at, with an image each."""
    _, image = image_size(known, max_pixels)
    return Largest(image + TEXT_TOKENS, image, TARGET_TOKENS)


def of_method(known: Architecture, model: ModelSettings, method: Method, rows: Largest) -> Estimate:
    """What a stage of one method needs."""
    size = BYTES[model.dtype]
    trained = known.trained * (size if model.lora is None else ADAPTER_BYTES)
    whole, step = _batch(known, method, rows), method.batch // method.updates
    part = _part(whole, min(step, method.micro_batch or step), model.token_budget)
    learning = activations(known, part, size, model.activation_checkpointing)
    for held in (method.distributions, *(strategy.distributions(method) for strategy in method.retention)):
        if held is not None:
            learning = max(learning, distributions(known, model, whole, held, method.micro_batch))
    sampling = 0
    if method.sampled is not None:
        sampled = replace(whole, group=method.sampled[0], patches=0)
        sampling = keys(known, _part(sampled, method.batch, model.token_budget), size)
    added_up = part.prompts < step and model.trains_bfloat16  # in float32
    optimiser = known.trained * optimizer_bytes(model, method.optimizer_state)
    if method.optimizer == "muon":
        optimiser -= 4 * known.matrices  # one moment of a matrix, not two
    # Patches of the batch lie on the device, with a copy of those of a step and of a part of it.
    pictures = method.batch
    pictures += step if step < method.batch else 0
    pictures += part.prompts if part.prompts < step else 0
    features = known.vision.features if known.vision is not None else 0
    parts = {
        "weights": known.parameters * size + (0 if model.lora is None else trained),
        "gradients": trained * 2 if added_up else trained,
        "optimiser": optimiser,
        "reference": _references(known, model, method, trained),
        "retention": round(4 * known.trained * sum(one.copies for one in method.retention)),
        "images": pictures * (whole.patches // method.batch) * features * size,
    }
    return Estimate(parts, learning, sampling)


def _references(known: Architecture, model: ModelSettings, method: Method, trained: int) -> int:
    """Bytes of the policies that a stage is held against.

    Args:
        trained: bytes of what is trained; of adapters the base's are zeros, and its weights are there.
    """
    past = {method.looks_at, *(strategy.looks_at for strategy in method.retention)}
    base = trained if model.lora is not None else known.parameters * BYTES[model.dtype]
    return trained * ("stage_start" in past) + base * ("base" in past)


def prompts_together(known: Architecture, model: ModelSettings, method: Method, rows: Largest) -> int:
    """Prompts of a step that are computed in one part, however large they and their completions are."""
    whole, step = _batch(known, method, rows), method.batch // method.updates
    most = min(step, method.micro_batch or step)
    if model.token_budget is None:
        return most
    return max(1, min(most, model.token_budget // whole.each))


def optimizer_bytes(model: ModelSettings, state: OptimizerState) -> int:
    """Bytes of optimiser state for a trained number: two moments, and what a bfloat16 weight cannot hold."""
    if not model.trains_bfloat16:
        return 2 * 4
    return 2 + 2 * (4 if state == "float32" else 2)


def of_measures(known: Architecture, experiment: Experiment, rows: Largest) -> Iterator[Estimate]:
    """What measures need, where they are asked for. (A probe is a small stage of SFT.)"""
    model = experiment.model
    size, completion = BYTES[model.dtype], experiment.evaluation.max_tokens
    weights = known.parameters * size
    adapters = 0 if model.lora is None else known.trained * ADAPTER_BYTES
    for measure in experiment.measures.values():
        needs = measure.needs(experiment, known.vocabulary)
        graph = Pass(1, rows.prompt, needs.graph, completion, patches_of(known, rows.image))
        parts = {
            "weights": weights + adapters,
            "weights of earlier policies": needs.policies * weights,
            "gradients and Fisher": needs.vectors * 4 * known.trained,
        }
        yield Estimate(
            parts={name: part for name, part in parts.items() if part},
            learning=activations(known, graph, size, model.activation_checkpointing) if needs.graph else 0,
            sampling=4 * needs.numbers,
        )


def activations(known: Architecture, part: Pass, size: int, checkpointing: bool) -> int:
    """Bytes that autograd keeps for a forward pass over `part`, and that its backward pass adds.

    Per layer and token, with hidden width d, query width q and feed-forward width f: normalised inputs
    and outputs of two norms (4 d) and their float32 inputs (2 d), queries, attention and its output
    (3 q), and four of the feed-forward part (4 f). A group's completions attend to their prompt's keys
    and values through a copy each. With checkpointing a layer keeps its input alone; one layer at a time
    is computed again. A frozen vision tower keeps nothing.
    """
    text = known.text
    copies = part.prompts * (part.prompt + part.group * (part.prompt + part.completion))
    mask = part.prompts * part.completion * (part.prompt + part.completion) * (text.query // text.key)
    layer = part.tokens * (known.kept or _kept(text, size, attention=3 * text.query))
    if size == BYTES["float32"] and known.states is None and known.kept is None:
        layer -= part.tokens * 4 * 2 * text.hidden  # policy/lean.py keeps rows of unit length for these
    layer += size * (2 * text.key * copies + mask)
    layers, extra = [layer] * text.layers, 0
    if (states := known.states) is not None:
        rows = (part.prompts, part.prompt), (part.prompts * part.group, part.completion)
        carried = states.kept(rows, size)
        layers[: states.layers] = [part.tokens * _kept(text, size, attention=0) + carried] * states.layers
        extra = carried // 2  # gradients of one such layer
    total = _stack(text, part.tokens, layers, size, checkpointing) + extra
    if known.vision is not None and known.sees:
        tower = known.vision.tower
        block = part.patches * _kept(tower, size, attention=7 * tower.hidden)
        seen = (
            _stack(tower, part.patches, [block] * tower.layers, size, checkpointing)
            + part.patches * known.vision.features * size
        )
        # The larger tower's backward work alone counts: they go one after the other.
        total += seen - min(_work(text, part.tokens, size), _work(tower, part.patches, size))
    logits = min(part.prompts * part.group * part.completion * known.vocabulary, KEPT_LOGITS)
    return total + logits * (size + 20)  # five float32 copies on the way to log-probability and entropy


def distributions(
    known: Architecture, model: ModelSettings, whole: Pass, held: Distributions, micro_batch: int | None
) -> int:
    """Bytes of a pass that holds whole distributions, its graph included.

    Args:
        whole: the batch that learning is about.
    """
    rows, completion = min(held.prompts, micro_batch or held.prompts), held.tokens or whole.completion
    if held.entries is not None:
        rows = min(rows, max(1, held.entries // (held.completions * completion * known.vocabulary)))
    patches = whole.patches // whole.prompts * held.prompts
    asked = Pass(held.prompts, whole.prompt, held.completions, completion, patches)
    part = _part(asked, rows, model.token_budget)
    tokens = part.prompts * part.group * part.completion
    graph = replace(known, vocabulary=0)  # its logits are among the tables
    kept = activations(graph, part, BYTES[model.dtype], model.activation_checkpointing)
    return kept + 4 * held.tables * tokens * known.vocabulary


def keys(known: Architecture, part: Pass, size: int) -> int:
    """Bytes of sampling `part`: the prompts' keys and values once, and each completion's own.

    Own keys count twice: completions that ended are removed by copying the others.
    """
    text = known.text
    attending = text.layers - (known.states.layers if known.states is not None else 0)
    per_token = 2 * attending * text.key * size
    completions = part.prompts * part.group
    tokens = part.prompts * part.prompt + 2 * completions * part.completion
    carried = known.states.sampled(part.prompts + completions, size) if known.states is not None else 0
    return tokens * per_token + carried + completions * known.vocabulary * (size + 36)


def needed(made: Estimate, device: str, workers: int) -> int:
    """Bytes of workers on one device, with the room they need beyond their tensors."""
    return round(workers * (made.total * SLACK + (CONTEXT if device.startswith("cuda") else PROGRAM)))


def image_size(known: Architecture, max_pixels: int) -> tuple[int, int]:
    """Patches of the largest image, and its tokens in the prompt."""
    if known.vision is None:
        return 0, 0
    patches = max_pixels // known.vision.patch**2
    return patches, patches // known.vision.merge**2


def patches_of(known: Architecture, image: int) -> int:
    """Patches of images that have so many tokens in the prompt."""
    return 0 if known.vision is None else image * known.vision.merge**2


def _batch(known: Architecture, method: Method, rows: Largest) -> Pass:
    """All that an iteration learns from."""
    return Pass(
        prompts=method.batch,
        prompt=rows.prompt,
        group=method.completions,
        completion=method.sampled[1] if method.sampled is not None else rows.target,
        patches=patches_of(known, rows.image) * method.batch,
    )


def _part(whole: Pass, rows: int, budget: int | None) -> Pass:
    """The largest part that a batch is split into; a prompt with its group is never split.

    With a budget, short completions let more prompts into a part than long ones. So there are as many
    prompts as fit with completions of one token, and completions fill the rest.
    """
    completion = whole.completion
    if budget is not None and rows * whole.each > budget:
        rows = max(1, min(rows, budget // (whole.prompt + whole.group)))
        if rows > 1:
            room = (budget // rows - whole.prompt) // whole.group
            completion = max(1, min(completion, room))
    patches = math.ceil(whole.patches / whole.prompts * rows)
    return replace(whole, prompts=rows, completion=completion, patches=patches)


def _kept(tower: Tower, size: int, attention: int) -> int:
    """Bytes a layer keeps of each token."""
    return size * (4 * tower.intermediate + 4 * tower.hidden + attention) + 4 * 2 * tower.hidden


def _stack(tower: Tower, tokens: int, layers: Sequence[int], size: int, checkpointing: bool) -> int:
    inputs = tower.layers * tokens * tower.hidden * size
    return (inputs + max(layers) if checkpointing else sum(layers)) + _work(tower, tokens, size)


def _work(tower: Tower, tokens: int, size: int) -> int:
    """Gradients of one feed-forward part, while its backward pass runs."""
    return 3 * tokens * tower.intermediate * size


def largest_image(model: ModelSettings) -> int:
    """The largest area of an image, from the settings or the processor's files."""
    if model.max_pixels is not None:
        return model.max_pixels
    folder = model_folder(model)
    if folder is None:
        return MAX_PIXELS
    for name in ("processor_config.json", "preprocessor_config.json"):
        try:
            facts = read_json(folder / name)
            facts = facts.get("image_processor", facts)
            return int((facts.get("size") or {}).get("longest_edge") or facts["max_pixels"])
        except (OSError, ValueError, TypeError, AttributeError, KeyError):
            continue
    return MAX_PIXELS
