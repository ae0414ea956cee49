"""Recall-anchored distillation: on text outside the tasks the policy goes on saying what the base says.

Chen et al. (arXiv 2608.20794) anchor fine-tuning on unlabelled text x that is at hand, whatever it is about:

    gradient ← gradient + λ ∇ mean_t KL(π_0(· | x_<t) ‖ π(· | x_<t))        over all V entries

What keeps is the base's soft distribution; training on the same text keeps less (their finding). Our reading:
λ is 1, and each step draws its texts anew. A text stands without a chat's turns and pictures. Without `texts`
the references of earlier tasks are the text, each under its input.
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from random import Random
from typing import Literal

import torch
from pydantic import Field, model_validator

from holdfast import files
from holdfast.errors import InputError, shortened
from holdfast.learning.distillation import ENTRIES, TABLES, divergence, rows_at_once
from holdfast.learning.groups import Groups
from holdfast.learning.likelihood import with_references
from holdfast.learning.methods import SFT, Method
from holdfast.learning.retention import Distributions, Memory, Strategy
from holdfast.learning.retention.answers import gradient_of
from holdfast.learning.retention.pool import count, spread
from holdfast.learning.retention.vectors import add_to_gradient
from holdfast.learning.stage import Stage
from holdfast.rng import stream as named_stream
from holdfast.tasks.prompts import Target


class RecallAnchoredDistillation(Strategy):
    rehearses = True  # without texts
    copies = 1  # the gradient of the divergence
    files = ("texts",)

    kind: Literal["rad"] = "rad"
    texts: Path | None = None  # .txt, a text a line; .jsonl, a line a string or {"text": …}
    strength: float = Field(1.0, gt=0)  # λ
    to: Literal["base", "stage_start"] = "base"
    examples: int = Field(8, ge=1)  # texts a step
    max_tokens: int = Field(128, ge=1)  # of a text that are looked at

    @model_validator(mode="after")
    def _of_texts(self) -> RecallAnchoredDistillation:
        if self.texts is None and self.max_tokens != type(self).model_fields["max_tokens"].default:
            raise ValueError("max_tokens is about texts, and there are none; leave it out")
        return self

    @property
    def looks_at(self) -> Literal["base", "stage_start"]:
        """The teacher."""
        return self.to

    def passes(self, method: Method) -> float:
        """The teacher's, and one to train; a text counts as much as an answer with its prompt."""
        return (1 + 3) * self.examples * method.updates / (method.batch * method.completions)

    def distributions(self, method: Method) -> Distributions:
        tokens = None if self.texts is None else self.max_tokens
        return Distributions(TABLES, self.examples, 1, ENTRIES, tokens)

    def imitates(self, method: Method) -> Target | None:
        if self.texts is not None:
            return None
        return method.target if isinstance(method, SFT) else "answer"

    def unreadable(self) -> str | None:
        try:
            read_texts(self.texts) if self.texts is not None else None
        except InputError as error:
            return str(error).rstrip(".")
        return None

    def begin(self, stage: Stage, memory: Memory) -> None:
        """Keep the teacher, where there is something to ask it."""
        if self.texts is not None or stage.earlier:
            stage.past(self.to)

    def gradient(self, stage: Stage, memory: Memory, groups: Groups) -> dict[str, float]:
        """Add that of the divergence; `rad_share` is its part of the whole, `rad_kl` its mean in nats."""
        if self.texts is None and not stage.earlier:
            return {}
        draw = named_stream(*stage.stream, "rad", count(memory, "steps"))
        asked = self._earlier(stage, draw) if self.texts is None else self._drawn(self.texts, stage, draw)
        teacher, tokens = stage.past(self.to), asked.completions.mask_BGR.sum()
        if not tokens:  # texts of a single token
            return {}
        kl = torch.zeros((), device=stage.policy.device)

        def loss(part: Groups, rows: range) -> torch.Tensor:
            then_TV = teacher.group_distributions(part.prompts, part.completions)
            now_TV = stage.policy.distributions(part.prompts, part.completions)
            total = divergence(then_TV, now_TV).sum() / tokens
            kl.add_(total.detach())
            return self.strength * total

        stage.spent["flops"] += stage.policy.operations.forward(asked.prompts, asked.completions)
        most = rows_at_once(stage.policy, asked.completions)
        share = add_to_gradient(stage.policy, gradient_of(stage, asked, loss, most))
        return {"rad_share": share, "rad_kl": float(kl)}

    def _drawn(self, path: Path, stage: Stage, draw: Random) -> Groups:
        """Texts of the user's file."""
        texts, policy = _kept(path, files.state(path)), stage.policy
        some = draw.sample(texts, min(len(texts), self.examples))
        prompts, completions = policy.encoder.texts(some, self.max_tokens)
        return Groups(prompts.to(policy.device), completions.to(policy.device), torch.ones(len(some), 1))

    def _earlier(self, stage: Stage, draw: Random) -> Groups:
        """Examples of all earlier tasks alike, with their references."""
        items = spread(list(stage.earlier.values()), self.examples, draw)
        target = self.imitates(stage.method)
        assert target is not None, "there are no texts"
        return with_references(stage.policy, items, stage.templates, stage.method.style, target)


def read_texts(path: Path) -> list[str]:
    """The texts of a file, one a line; blank lines are none.

    Raises:
        InputError: it is missing, not in UTF-8, or empty, or a line of a .jsonl file is no text; naming it.
    """
    if path.suffix not in (".txt", ".jsonl"):
        raise InputError(f"{path} must be a .txt file with a text a line, or a .jsonl file.")
    try:
        lines = files.read_text(path).removeprefix("\ufeff").split("\n")
    except OSError as error:
        raise InputError(f"The file {path} cannot be read: {error.strerror or error}.") from None
    except ValueError:
        raise InputError(f"The file {path} is no text in UTF-8; save it as that.") from None
    texts = [
        line.strip() if path.suffix == ".txt" else _text_of(line, f"{path}, line {number}")
        for number, line in enumerate(lines, 1)
        if line.strip()
    ]
    if not texts:
        raise InputError(f"The file {path} holds no text; write one a line.")
    return texts


@lru_cache(1)
def _kept(path: Path, state: tuple[int, ...]) -> list[str]:
    """As `read_texts`, read once while the file stays as it is."""
    return read_texts(path)


def _text_of(line: str, place: str) -> str:
    """The text of a line of JSON.

    Raises:
        InputError: it has none.
    """
    try:
        found = json.loads(line)
    except ValueError:
        found = None
    text = found.get("text") if isinstance(found, dict) else found
    if not isinstance(text, str) or not text.strip():
        wanted = 'a text in JSON, "…" or {"text": "…"}'
        raise InputError(f"{place}: {shortened(line.strip(), 60)} is not {wanted}.")
    return text
