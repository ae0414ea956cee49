"""The policy: a model with everything that learning and evaluation ask of it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import torch

from holdfast.errors import InputError
from holdfast.policy import control, fused, generation, heap, lora, products
from holdfast.policy.backbone import Backbone
from holdfast.policy.batch import Completions, GroupLogprobs, NotFiniteError, Prompts, group_tokens, some_rows
from holdfast.policy.budget import TokenBudget
from holdfast.policy.checkpointing import checkpoint_layers, set_mode
from holdfast.policy.drawing import Draw, Recorder
from holdfast.policy.encode import Unfit
from holdfast.policy.environment import loading
from holdfast.policy.families import family_of
from holdfast.policy.given import pictures
from holdfast.policy.gradients import trained_weights
from holdfast.policy.lean import Lean
from holdfast.policy.load import load_model, save_model
from holdfast.policy.logprobs import log_distribution, packed_hidden, packed_logprobs
from holdfast.policy.operations import Operations
from holdfast.policy.plain import plain_logits, plain_logprobs, sample_plain
from holdfast.policy.prefill import Prefill, prefill
from holdfast.policy.reference import Reference
from holdfast.policy.sampling import sample_packed
from holdfast.policy.settings import ModelSettings, Sampling
from holdfast.policy.sharding import shards_of
from holdfast.policy.shards import Shards
from holdfast.policy.team import Team
from holdfast.policy.trial import Tried, agree, drawn_wrongly, replays_are_wrong, try_packed, try_pictures
from holdfast.tasks.example import ImageSource

T = TypeVar("T")
log = logging.getLogger(__name__)


class Policy:
    """A model with its processor and settings: it encodes, samples, gives log-probabilities, saves and loads.

    Two passes compute the same. The packed pass is used where the architecture is known and the first group
    of the run agrees with the plain pass; otherwise the plain pass is used, after one warning.

    Attributes:
        model: the transformers model, on `device`.
        processor: the checkpoint's processor; `tokenizer` is the text part of it.
        family: what is known of the model's architecture.
        encoder: turns prompts and targets into tokens.
        draw: chooses the next token; it knows which ids are never sampled, and which end a completion.
        way: the pass in use, `packed` or `plain`.
        backbone: the parts of the model that the packed pass drives; None where it cannot.
        tried: what was compared on first use, and how the plain pass samples since.
        budget: the tokens of one forward pass, by which larger batches are split.
        operations: floating-point operations of a pass.
        shards: how batches are cut while it learns.
    """

    def __init__(self, model: Any, processor: Any, settings: ModelSettings):
        self.model, self.processor, self.settings = model, processor, settings
        self.tokenizer = getattr(processor, "tokenizer", processor)
        self.device = next(model.parameters()).device
        heap.keep_freed_memory(self.device)
        self.family = family_of(model.config)
        self.encoder = self.family.encoder(processor, settings, self.device)
        self.encoder.try_out()
        self.end = self.encoder.end
        if self.tokenizer.pad_token_id is None:
            self.tokenizer.pad_token = self.tokenizer.convert_ids_to_tokens(self.end)
        self.draw = Draw(*self._special_ids(), self.tokenizer.pad_token_id)
        silent = control.silent_ids(self.tokenizer) | {self.end, *self.draw.ends.tolist()}
        self.silent = torch.tensor(sorted(silent), device=self.device)
        self.budget = TokenBudget(settings.token_budget)
        self.shards = Shards()
        if settings.lora is not None and not self.adapted:
            lora.add_adapters(model, self.family, settings.lora)
        self.way, self.backbone = "packed", None
        try:
            self.backbone = Backbone(model, self.family)
        except ValueError as error:
            self.fall_back(str(error))
        self.tried = Tried()
        self._freeze()
        if self.way == "packed" and self.device.type == "cuda":
            fused.fuse(model)
        elif self.device.type == "cpu":
            products.take_over(model)
        self.operations = Operations.of(model)
        if settings.activation_checkpointing:
            checkpoint_layers(model)

    @classmethod
    def load(cls, folder: str | Path, settings: ModelSettings) -> Policy:
        """The policy in a model folder, of a hub id, or `embedded`; or saved adapters on `settings.path`.

        Raises:
            InputError: there is no usable model; the message says what is missing.
        """
        with loading("model", folder):
            try_pictures(policy := cls(*load_model(folder, settings), settings))
        return policy

    def save(self, folder: str | Path, merge: bool = False) -> None:
        """Write weights, configuration and processor as transformers lays them out.

        With LoRA, only the adapters (`settings.path` is needed to load them again); or, to `merge`,
        the whole model with the adapters added into its weights, which takes a second copy in memory.
        """
        save_model(lora.merged(self.model) if merge and self.adapted else self.model, self.processor, folder)

    @property
    def adapted(self) -> bool:
        """Whether only adapters are trained."""
        return lora.has_adapters(self.model)

    @property
    def lean(self) -> Lean | None:
        """Its text layers as they are written out, where they are."""
        return self.backbone.lean if self.backbone is not None else None

    def snapshot(self) -> Reference:
        """The policy as it is now, whatever is learned later; keeps a copy of the trained weights alone."""
        return Reference(self, {name: weight.detach().clone() for name, weight in self.trained().items()})

    def with_weights(self, weights: Mapping[str, torch.Tensor]) -> Reference:
        """The policy with these in place of its own, by name; those that this rank holds."""
        own = {name for name, parameter in self.model.named_parameters() if self.shards.holds(parameter)}
        return Reference(self, {name: weights[name].to(self.device) for name in weights if name in own})

    def trained(self) -> dict[str, torch.nn.Parameter]:
        """What is trained, by name; where ranks share that out, of this one."""
        return {name: one for name, one in trained_weights(self.model).items() if self.shards.holds(one)}

    def without_adapters(self) -> Reference:
        """The model under the adapters."""
        return self.with_weights(lora.switched_off(self.model))

    def encode(self, prompts: Sequence[str], images: Sequence[Sequence[ImageSource]]) -> Prompts:
        """User turns and their images, ready for sampling; each distinct image is kept once.

        Images are decoded and resized once per process and remembered; an image object or file must
        not change afterwards.

        Raises:
            Unfit: the model cannot take a prompt; the message names its index.
            HoldfastError: an image cannot be read, or what is given is something else.
        """
        return self.encoder.prompts(prompts, pictures(prompts, images)).to(self.device)

    def prepare(self, images: Sequence[Sequence[ImageSource]]) -> None:
        """Begin to decode the images of a batch that is encoded next, while the device computes this one.

        On a CPU nothing waits for images, and a thread would take from what computes.
        """
        if self.device.type != "cpu":
            self.encoder.prepare(image for row in images for image in row)

    def encode_completions(self, texts: Sequence[str]) -> Completions:
        """Targets with the end token, as groups of one.

        Raises:
            Unfit: a target is too long, or holds a token that is never sampled.
        """
        completions = self.encoder.completions(texts).to(self.device)
        banned = (self.draw.banned_V[completions.tokens_BGR] & completions.mask_BGR).nonzero()
        if len(banned):
            index, member, step = banned[0].tolist()
            token = self.tokenizer.convert_ids_to_tokens(int(completions.tokens_BGR[index, member, step]))
            raise Unfit("target", index, f"contains {token}, which a model must not write; remove it.")
        return completions

    def prefill(self, prompts: Prompts) -> Prefill | None:
        """The prompts' part of the packed pass, with its graph, for `sample` and then `group_logprobs`.

        It saves computing prompts and images a second time, and holds their activations while sampling.
        That is for CPUs: on a GPU, where decoding takes the time, memory is worth more; so it is where
        activations are checkpointed or the batch is split. None then.
        """
        split = self.settings.activation_checkpointing or self.budget.tokens or self.shards.count > 1
        if self.way != "packed" or self.backbone is None or self.device.type != "cpu" or split:
            return None
        self._mode(False)
        with torch.enable_grad():
            return prefill(self.backbone, prompts)

    def sample(
        self,
        prompts: Prompts,
        group_size: int,
        sampling: Sampling,
        generator: torch.Generator,
        greedy_row: bool = False,
        prefilled: Prefill | None = None,
    ) -> Completions:
        """Draw `group_size` completions for each prompt.

        Args:
            generator: the only source of randomness.
            greedy_row: add a greedy completion as the last of each group.
            prefilled: what `prefill` made of these prompts.

        Raises:
            InputError: prompt and completion together may outgrow the context.
            NotFiniteError: the model's output is not finite; it tells for which example.
        """
        self.encoder.check_room(prompts, sampling.max_tokens)
        group = group_size + greedy_row
        costs = [length + group * sampling.max_tokens for length in prompts.lengths_B.tolist()]
        # All at once, so that what a completion gets depends neither on the split nor on when others end.
        numbers = (sampling.max_tokens, len(prompts), group)
        uniform_TBG = torch.rand(numbers, generator=generator, device=generator.device).to(self.device)
        self._mode(False)

        def part(rows: range) -> Completions:
            some, uniform_TX = some_rows(prompts, rows), uniform_TBG[:, rows.start : rows.stop].flatten(1)
            out = Recorder(len(some), group, greedy_row, sampling, self.draw, uniform_TX, rows.start)
            if self.way == "packed" and self.backbone is not None:
                sample_packed(self.backbone, some, out, prefilled if some is prompts else None)
            else:
                sample_plain(self.model, some, out, self.tried.care)
            return out.completions()

        def whole() -> Completions:
            with self.shards.whole():
                parts = self._in_parts(costs, part)
            return Completions.join(parts, self.draw.pad).to(self.device)

        completions = whole()
        temperature = sampling.temperature or 1.0
        changed = self.check(prompts, completions, temperature, new=True)
        if changed or replays_are_wrong(self, prompts, completions, temperature):
            if prefilled is not None:
                prefilled.release()  # it was computed as they were
                prefilled = None
            completions = whole()  # of the same random numbers
        while drawn_wrongly(self, prompts, completions, temperature):
            completions = whole()
        return completions

    def group_logprobs(
        self,
        prompts: Prompts,
        completions: Completions,
        temperature: float = 1.0,
        prefilled: Prefill | None = None,
        top: int | None = None,
    ) -> GroupLogprobs:
        """Log-probability and entropy of every completion token, with gradient if it is enabled.

        Equal completions of a prompt are computed once.

        Without gradient, a large batch is split by the token budget. With it, who calls must split
        and take the backward pass of a part before the next: a graph holds its part's activations.

        Args:
            temperature: that of the distribution the completions were drawn from.
            prefilled: what `prefill` made of these prompts with the weights as they are; good for one
                pass with gradient, and ignored after it.
            top: also the entropy of so many most likely entries of each token.

        Raises:
            NotFiniteError: a log-probability is not finite; it tells of which example.
        """
        self.check(prompts, completions, temperature)
        completions, places_BG = completions.distinct() or (completions, None)
        if torch.is_grad_enabled():
            result = self.logprobs_by(self.way, prompts, completions, temperature, prefilled, top)
        else:

            def part(rows: range) -> GroupLogprobs:
                some = some_rows(prompts, rows), some_rows(completions, rows)
                return self.logprobs_by(self.way, *some, temperature, None, top)

            parts = self._in_parts(group_tokens(prompts, completions), part)
            result = GroupLogprobs.join(parts).to(self.device)
        if not bool(torch.isfinite(result.logprobs_BGR.detach().sum())):
            bad_B = (~torch.isfinite(result.logprobs_BGR)).flatten(1).any(1)
            raise NotFiniteError(int(bad_B.int().argmax()))
        return result if places_BG is None else result.of_members(places_BG)

    @torch.no_grad()
    def group_distributions(
        self, prompts: Prompts, completions: Completions, temperature: float = 1.0
    ) -> torch.Tensor:
        """The distributions that completion tokens are drawn from, before top-p, without gradient.

        All at once, T * V numbers in at least float32: who calls sees to it that they fit.

        Args:
            temperature: divides the logits; above 0.

        Returns:
            Log-probabilities [T, V] for the T completion tokens, in the order of the mask; about
            -1e30 for ids that are never sampled.

        Raises:
            NotFiniteError: a log-probability is not finite; it tells of which example.
        """
        self.check(prompts, completions, temperature)

        def part(rows: range) -> torch.Tensor:
            return self.distributions(some_rows(prompts, rows), some_rows(completions, rows), temperature)

        all_TV = torch.cat(self._in_parts(group_tokens(prompts, completions), part)).to(self.device)
        if not bool(torch.isfinite(all_TV.sum())):
            owner_T = completions.mask_BGR.nonzero()[:, 0]
            raise NotFiniteError(int(owner_T[~torch.isfinite(all_TV).all(-1)][0]))
        return all_TV

    def share(self, count: int = 1, team: Team | None = None, full: bool = False) -> None:
        """Cut batches into so many shards from now on, for a team. It takes over what the leading rank knows.

        Args:
            full: each rank has a part of the model's weights only, until this is called again.

        Raises:
            InputError: as `Shards`, or the model cannot be taken apart.
        """
        self.shards.end()
        self.shards = shards_of(self, count, team or Team(), full)
        agree(self)

    def check(
        self, prompts: Prompts, completions: Completions, temperature: float = 1.0, new: bool = False
    ) -> bool:
        """Compare both passes on these groups (just drawn, if `new`), unless that was done: before ranks
        compute apart. Whether the policy computes otherwise from now on."""
        if self.way == "plain" or self.tried.packed or not len(prompts):
            return False
        return try_packed(self, prompts, completions, temperature, new)

    def decode(self, completions: Completions) -> list[list[str]]:
        """The text of each completion, without end, padding and control tokens."""
        keep_BGR = completions.mask_BGR & ~torch.isin(completions.tokens_BGR, self.silent)
        tokens_XR, keep_XR = (one.flatten(0, 1).cpu() for one in (completions.tokens_BGR, keep_BGR))
        rows = [row[keep].tolist() for row, keep in zip(tokens_XR, keep_XR, strict=True)]
        texts = self.tokenizer.batch_decode(
            rows, skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
        group = completions.tokens_BGR.shape[1]
        return [texts[start : start + group] for start in range(0, len(texts), group)]

    def _in_parts(self, costs: Sequence[int], work: Callable[[range], T]) -> list[T]:
        """What `work` makes of a batch's rows, in order: by shards, in parts within the token budget.

        Args:
            costs: tokens of each row.
        """

        @wraps(work)  # by whose name ranks see that they are at the same
        def shard(rows: range) -> list[T]:
            def parts() -> list[T]:
                split = self.budget.split(costs[rows.start : rows.stop])
                return [work(rows[part.start : part.stop]) for part in split]

            return self.budget.attempt(parts)

        return [one for parts in self.shards.each(costs, shard) for one in parts]

    def logprobs_by(
        self,
        way: str,
        prompts: Prompts,
        completions: Completions,
        temperature: float,
        prefilled: Prefill | None = None,
        top: int | None = None,
    ) -> GroupLogprobs:
        """As `group_logprobs`, in one pass by a way of the two, unchecked."""
        self._mode(self.settings.activation_checkpointing and torch.is_grad_enabled())
        if way == "packed" and self.backbone is not None:
            rest = (prompts, completions, self.draw.banned_V, temperature)
            if prefilled is None or prefilled.spent:
                return packed_logprobs(self.backbone, *rest, None, top)
            prefilled.spent = True
            return packed_logprobs(self.backbone, *rest, prefilled, top)
        return plain_logprobs(self.model, prompts, completions, self.draw.banned_V, temperature, top)

    def distributions(
        self, prompts: Prompts, completions: Completions, temperature: float = 1.0
    ) -> torch.Tensor:
        """As `group_distributions`, in one pass, unchecked, and with gradient if it is enabled."""
        self._mode(self.settings.activation_checkpointing and torch.is_grad_enabled())
        if self.way == "packed" and self.backbone is not None:
            logits_TV = self.backbone.head(packed_hidden(self.backbone, prompts, completions))
        else:
            logits_TV = plain_logits(self.model, prompts, completions)
        return log_distribution(logits_TV, self.draw.banned_V, temperature)

    def _mode(self, training: bool) -> None:
        set_mode(self.model, None if self.backbone is None else self.backbone.text, training)

    def fall_back(self, reason: str) -> None:
        """Leave the packed pass, after a warning."""
        self.way = "plain"
        log.warning("The packed group pass is not used for %s: %s. The plain pass is slower.",
                    type(self.model).__name__, reason)  # fmt: skip

    def _special_ids(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Which ids are never sampled [vocabulary], and which end a completion."""
        size = self.model.get_output_embeddings().weight.shape[0]
        padding = range(max(self.tokenizer.get_vocab().values()) + 1, size)  # rows of the embedding matrix
        banned = self.family.control_ids(self.processor) | set(padding)
        ends = generation.ends(self.model) | ({self.end, self.tokenizer.eos_token_id} - {None})
        banned_V = torch.zeros(size, dtype=torch.bool, device=self.device)
        banned_V[sorted(token for token in banned if token < size)] = True  # a default's id may lie outside
        return banned_V, torch.tensor(sorted(ends), device=self.device)

    def _freeze(self) -> None:
        """Settings name parts whose weights must not change."""
        for name in self.settings.freeze:
            weights = [parameter for part, parameter in self.family.parts(self.model) if part == name]
            if not weights:
                raise InputError(self.family.lacks(name, type(self.model).__name__))
            for parameter in weights:
                parameter.requires_grad_(False)
