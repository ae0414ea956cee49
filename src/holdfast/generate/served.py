"""Another engine that samples for the policy in this process: a vLLM server that is given its weights.

Prompts are the policy's to the token, or the server is refused; answers come as token ids, so that nothing
is tokenised twice. All over HTTP and a disk that both see, by vLLM's own ways: chat completions with
`return_token_ids`, and its endpoints for development (VLLM_SERVER_DEV_MODE=1). Of these `collective_rpc` with
`reload_weights` reads a folder; `update_weight_version` and `weight_info` keep a name for what was read.

That a server says it has read them is no proof that it uses them all: vLLM 0.32 on a CPU goes on with the
head that it began with, where that is tied to the embedding. So it is tried once with weights unlike its own.
"""

from __future__ import annotations

import asyncio
import math
import queue
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from holdfast.errors import HoldfastError, InputError, shortened
from holdfast.files import parse_json
from holdfast.generate.connection import beside
from holdfast.generate.generator import Answers, Question
from holdfast.generate.local import LocalGenerator
from holdfast.generate.server import REDIRECTED, UNKNOWN_CALLER, Again, ServerGenerator
from holdfast.generate.settings import Served
from holdfast.policy.batch import Completions, GroupLogprobs, Prompts
from holdfast.policy.settings import Sampling

if TYPE_CHECKING:
    from holdfast.policy.policy import Policy

# What a server remembers that it computed with the weights before.
_CACHES = ("/reset_prefix_cache", "/reset_mm_cache", "/reset_encoder_cache")
_NEVER = -100  # the least that vLLM adds to a logit
_TRIED = "tried-"  # begins the names of weights, from when the server was seen to take them whole
_TRIAL = 8  # tokens at most
_APART = 0.5  # nats from which a trial fails: 0.02 by bfloat16's rounding, 17 by a head that stays


class ServedGenerator(LocalGenerator):
    """The policy in this process, with a server drawing in its place.

    Args:
        folder: for weights on their way; the server must see it under the same path.
    """

    def __init__(self, settings: Served, policy: Policy, folder: Path) -> None:
        super().__init__(policy)
        self.settings, self.folder = settings, folder.resolve()
        self.server = _TokenServer(settings, policy)
        self._weights = ""

    def refresh(self) -> None:
        """Give the server the weights that the policy has now; adapters are merged into the model's.

        Raises:
            InputError: it is another version than `sampler.version` says, or lacks an endpoint.
            HoldfastError: it does not answer, or does not have the weights then.
        """
        call, settings = self.server.call, self.settings
        if (version := call("/version").get("version")) != settings.version:
            raise InputError(
                f"{settings.url} runs version {version}, but sampler.version is {settings.version}: each has "
                "results of its own, so set that which is meant."
            )
        tried = str(call("/weight_info").get("weight_version")).startswith(_TRIED)  # since it was started
        self._push(_TRIED if tried else "")

    def _push(self, named: str) -> None:
        call, settings = self.server.call, self.settings
        self._weights = named + uuid.uuid4().hex  # a new path, too: vLLM may remember what it read from one
        folder = self.folder / self._weights
        shutil.rmtree(self.folder, ignore_errors=True)  # of a killed process
        try:
            self.policy.save(folder, merge=True)
            call("/collective_rpc", {"method": "reload_weights", "kwargs": {"weights_path": str(folder)}})
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)
        for path in _CACHES:
            if call(path, {}).get("success") is False:
                raise HoldfastError(f"{settings.url} is busy for somebody else; let one worker alone use it.")
        call("/update_weight_version", {"new_version": self._weights})
        self._check_weights()

    def draw(
        self,
        questions: Sequence[Question],
        prompts: Prompts,
        group: int,
        sampling: Sampling,
        stream: tuple[object, ...],
        greedy_row: bool = False,
    ) -> Completions:
        """As `LocalGenerator.draw`, with the log-probabilities that the server drew with.

        Raises:
            InputError: the server reads a question as other tokens, or tells no tokens; or there is no room.
            HoldfastError: no answer came, one cannot be learned from, or they are not the policy's.
        """
        self.policy.encoder.check_room(prompts, sampling.max_tokens)
        if not self._weights.startswith(_TRIED):
            self._try_weights(questions[:1], prompts.select([0]), min(_TRIAL, sampling.max_tokens), stream)
        drawn = self._ask(questions, prompts, group, sampling, stream)
        self.recompute(prompts.select([0]), drawn.select([0]), sampling.temperature or 1.0)
        if not greedy_row:
            return drawn
        greedy = sampling.model_copy(update={"temperature": 0.0, "top_p": 1.0})
        return Completions.join(
            [drawn, self._ask(questions, prompts, 1, greedy, stream)], self.policy.draw.pad, axis=1
        )

    def _ask(
        self,
        questions: Sequence[Question],
        prompts: Prompts,
        group: int,
        sampling: Sampling,
        stream: tuple[object, ...],
    ) -> Completions:
        rows = zip(prompts.tokens_BP, prompts.mask_BP, strict=True)
        self.server.prompts = [tokens[mask].tolist() for tokens, mask in rows]
        self.server.limit = sampling.max_tokens
        parts = {
            part.asked[0]: part.completions
            for part in self.server.generate(questions, group, sampling, stream)
            if part.completions is not None
        }
        self._check_weights()
        drawn = Completions.join([parts[place] for place in sorted(parts)], self.policy.draw.pad)
        return drawn.to(self.policy.device)

    @torch.no_grad()
    def _try_weights(
        self, questions: Sequence[Question], prompts: Prompts, max_tokens: int, stream: tuple[object, ...]
    ) -> None:
        """See that the server takes all weights: signs turned, it must draw as the policy then would.

        Any part that stays as it was has the wrong sign among the others.

        Raises:
            HoldfastError: it draws otherwise.
        """
        with self._signs_turned():
            self._push("")
            drawn = self._ask(questions, prompts, 1, Sampling(max_tokens=max_tokens), stream)
            gap, _ = _apart(self.policy.group_logprobs(prompts, drawn), drawn)
        if not gap <= max(_APART, self.settings.refuse):
            raise HoldfastError(
                f"{self.settings.url} does not take all weights: with the signs of all turned, its "
                f"log-probabilities are off by {gap:.3g} on average, so a part of it stays as it was (on a "
                "CPU vLLM 0.32 keeps a head that is tied to the embedding). Use another server, or leave "
                "sampler out: the policy draws by itself then."
            )
        self._push(_TRIED)

    @contextmanager
    def _signs_turned(self) -> Iterator[None]:
        """The policy with all weights negated that learning changes, which is undone to the bit.

        Adapters' product stays as it is, and that to which it is added is negated.
        """
        named = list(self.policy.model.named_parameters())
        turned = [one for name, one in named if one.requires_grad or ".base_layer." in name]
        for parameter in turned:
            parameter.neg_()
        try:
            yield
        finally:
            for parameter in turned:
                parameter.neg_()

    @torch.no_grad()
    def recompute(
        self, prompts: Prompts, drawn: Completions, temperature: float
    ) -> tuple[GroupLogprobs, dict[str, float]]:
        """What the policy itself thinks of what the server drew.

        Returns:
            Log-probabilities and entropies. And how far the server's are from the former: `sampler_gap`, the
            mean of |difference| over tokens, in nats, and `sampler_ratio_max`, the largest ratio of two
            probabilities.

        Raises:
            HoldfastError: the gap is larger than `sampler.refuse`.
        """
        own = self.policy.group_logprobs(prompts, drawn, temperature)
        gap, largest = _apart(own, drawn)
        if not gap <= self.settings.refuse:
            raise HoldfastError(
                f"{self.settings.url} does not draw from the policy: log-probabilities are off by {gap:.3g} "
                f"on average, more than sampler.refuse ({self.settings.refuse:g}). It has other weights, or "
                "computes otherwise: see its dtype, and --logprobs-mode processed_logprobs."
            )
        return own, {"sampler_gap": gap, "sampler_ratio_max": largest}

    def _check_weights(self) -> None:
        if (found := self.server.call("/weight_info").get("weight_version")) != self._weights:
            raise HoldfastError(
                f"{self.settings.url} has the weights {found}, not {self._weights}, which this job gave it: "
                "it was started anew, or another job uses it. Let one worker alone use it."
            )


def _apart(own: GroupLogprobs, drawn: Completions) -> tuple[float, float]:
    """Between what the policy and the server think of tokens: the mean difference, and the largest ratio."""
    assert drawn.logprobs_BGR is not None
    difference_T = (own.logprobs_BGR - drawn.logprobs_BGR)[drawn.mask_BGR]
    return difference_T.abs().mean().item(), difference_T.max().exp().item()


class _TokenServer(ServerGenerator):
    """A server whose answers are tokens, as the policy would have drawn them.

    Attributes:
        prompts: what the questions under way must be as token ids.
        limit: the most tokens of an answer to them.
    """

    def __init__(self, settings: Served, policy: Policy) -> None:
        super().__init__(settings.url, settings, policy.settings.system_prompt)
        self.root = self.url.removesuffix("/chat/completions").removesuffix("/v1")
        self.tokenizer, self.pad = policy.tokenizer, policy.draw.pad
        self.ends: list[int] = policy.draw.ends.tolist()
        self.vocabulary = len(policy.draw.banned_V)
        self.banned: set[int] = set(policy.draw.banned_V.nonzero().flatten().tolist())
        self.prompts: list[list[int]] = []
        self.limit = 0

    def call(self, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """What an endpoint besides chat completions tells: to a POST of the body, or to a GET.

        Raises:
            InputError: the server does not know the endpoint, or refuses.
            HoldfastError: all attempts failed.
        """
        told: queue.Queue[dict[str, Any] | BaseException] = queue.Queue()

        async def ask() -> None:
            try:
                async with self.client() as client:
                    data = None if body is None else dict(body)
                    told.put(await self.ask(client, self.root + path, data, self._object, asyncio.Event()))
            except BaseException as error:
                told.put(error)

        with beside(ask()):
            answer = told.get()
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def _object(self, content: bytes) -> dict[str, Any]:
        """What an endpoint tells; nothing where it only says that it has done it.

        Raises:
            Again: it says that it has not.
        """
        value: Any = None
        with suppress(ValueError):
            value = parse_json(content)
        if not isinstance(value, dict):
            return {}
        if value.get("error"):
            raise Again(f"it tells an error: {self.excerpt(content)}")
        return value

    def advice(self, url: str, code: int) -> str:
        if url == self.url or code in (*UNKNOWN_CALLER, *REDIRECTED):
            return super().advice(url, code)
        return "To take weights from a learner, start vLLM 0.30 or later with VLLM_SERVER_DEV_MODE=1."

    def body(
        self, question: Question, group: int, sampling: Sampling, stream: tuple[object, ...]
    ) -> dict[str, Any]:
        return super().body(question, group, sampling, stream) | {
            "logprobs": True,
            "return_token_ids": True,
            "stop_token_ids": self.ends,
            "logit_bias": {str(token): _NEVER for token in sorted(self.banned)},
        }

    def read(self, place: int, group: int, content: bytes) -> Answers:
        """As `ServerGenerator.read`, with completions in the place of texts, which who asked decodes."""
        value, choices = self.choices(content, group)
        try:
            prompt = list(value["prompt_token_ids"])
            told = [
                (
                    list(one["token_ids"]),
                    [float(token["logprob"]) for token in one["logprobs"]["content"]],
                    one["finish_reason"],
                )
                for one in choices
            ]
        except (KeyError, TypeError, ValueError, OverflowError):  # the last: a whole number that no float is
            raise InputError(
                f"{self.url} tells no token ids with log-probabilities, so nothing can be learned from its "
                "answers; vLLM does (return_token_ids, logprobs)."
            ) from None
        if prompt != (ours := self.prompts[place]):
            raise InputError(
                f"{self.url} reads the question as other tokens than the policy here ({len(prompt)} against "
                f"{len(ours)}). Give it the same model folder and the same bounds of pixels "
                "(--mm-processor-kwargs); control tokens in a text are none here, but they are to a server."
            )
        drawn = Completions.join([self._completion(*one) for one in told], self.pad, axis=1)
        return Answers([place], [], [], [], completions=drawn)

    def _completion(self, ids: list[int], logprobs: list[float], said: object) -> Completions:
        """An answer up to its end token, as a group of one.

        Raises:
            HoldfastError: the policy could not have drawn it.
        """
        if not ids or len(ids) != len(logprobs):
            raise HoldfastError(f"{self.url} tells {len(ids)} tokens with {len(logprobs)} log-probabilities.")
        if odd := [one for one in ids if type(one) is not int or not 0 <= one < self.vocabulary]:
            raise HoldfastError(
                f"{self.url} tells the token id {shortened(repr(odd[0]))}, and the policy has 0 to "
                f"{self.vocabulary - 1}; see that it serves the same model."
            )
        if bad := [one for one in logprobs if not math.isfinite(one)]:
            raise HoldfastError(f"{self.url} tells the log-probability {bad[0]}; see its dtype.")
        end = next((place for place, token in enumerate(ids, 1) if token in self.ends), None)
        for token in ids[:end]:
            if token in self.banned:
                name = self.tokenizer.convert_ids_to_tokens(token)
                raise HoldfastError(
                    f"{self.url} wrote {name} (id {token}), which the policy never draws; see that it serves "
                    "the same model and obeys logit_bias."
                )
        if end is None and (said != "length" or len(ids) < self.limit):
            raise HoldfastError(
                f"{self.url} ended an answer ({said}) after {len(ids)} of {self.limit} tokens without an end "
                "token; raise its context (--max-model-len), and set no stop strings."
            )
        if (count := len(ids[:end])) > self.limit:
            raise HoldfastError(
                f"{self.url} wrote an answer of {count} tokens, and was to stop after {self.limit}; see that "
                "it obeys max_tokens."
            )
        tokens = torch.tensor([[ids[:end]]])
        mask, finished = torch.ones_like(tokens, dtype=torch.bool), torch.tensor([[end is not None]])
        return Completions(tokens, mask, finished, torch.tensor([[logprobs[:end]]]))
