"""The policy in this process as a generator."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from holdfast.generate.generator import Answers, Question
from holdfast.policy.batch import Completions, NotFiniteError, Prompts
from holdfast.policy.encode import Unfit
from holdfast.policy.settings import Sampling
from holdfast.rng import torch_stream

if TYPE_CHECKING:
    from holdfast.policy.policy import Policy


class LocalGenerator:
    """Answers all questions at once: whoever asks decides how many go together, which changes the draws."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy

    @property
    def opens_thought(self) -> bool:
        """Whether replies begin within `<think>`."""
        return self.policy.encoder.opens_thought

    @property
    def device(self) -> str:
        """Where the policy computes: of several cards, on which."""
        return str(self.policy.device)

    @property
    def mode(self) -> dict[str, Any]:
        """How the policy computes."""
        import torch

        weight = next(self.policy.model.parameters())
        return {
            "device": weight.device.type,
            "dtype": str(weight.dtype).removeprefix("torch."),
            "threads": torch.get_num_threads(),
        }

    def prepare(self, questions: Sequence[Question]) -> None:
        """Begin to decode the pictures of questions that come next."""
        self.policy.prepare([one.images for one in questions])

    def generate(
        self, questions: Sequence[Question], group: int, sampling: Sampling, stream: tuple[object, ...]
    ) -> Iterator[Answers]:
        policy = self.policy
        try:
            prompts = policy.encode([one.prompt for one in questions], [one.images for one in questions])
            completions = self.draw(questions, prompts, group, sampling, stream)
        except (NotFiniteError, Unfit) as problem:
            raise problem.named([one.named for one in questions]) from None
        yield Answers(
            range(len(questions)),
            policy.decode(completions),
            completions.lengths_BG.tolist(),
            completions.finished_BG.tolist(),
            policy.operations.forward(prompts, completions),
            completions,
        )

    def draw(
        self,
        questions: Sequence[Question],
        prompts: Prompts,
        group: int,
        sampling: Sampling,
        stream: tuple[object, ...],
    ) -> Completions:
        """`group` completions of each question, whose tokens are `prompts`."""
        return self.policy.sample(
            prompts, group, sampling, torch_stream(*stream, device=str(self.policy.device))
        )
