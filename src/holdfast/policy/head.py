"""What makes logits of hidden states: a model's output embeddings, and what it does to what they make."""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import nn

log = logging.getLogger(__name__)


class Head:
    """Hidden states [..., hidden] to logits [..., V].

    Args:
        model: a transformers model.
        text: its layers over embeddings.

    Raises:
        ValueError: it does more to what the head reads or makes than its configuration says.
    """

    def __init__(self, model: Any, text: nn.Module) -> None:
        self.module: nn.Module = model.get_output_embeddings()
        config = model.config.get_text_config()
        self.cap: float | None = getattr(config, "final_logit_softcapping", None)  # of Gemma 2 and 4
        self.divisor: float | None = getattr(config, "logits_scaling", None)  # of Granite
        self.factor: float | None = getattr(config, "logit_scale", None)  # of Cohere
        if model.device.type != "meta":  # where there are no numbers
            self._try(model, text)

    def __call__(self, hidden: torch.Tensor) -> torch.Tensor:
        return self._after(self.module(hidden))

    def _after(self, logits: torch.Tensor) -> torch.Tensor:
        if self.divisor is not None:
            logits = logits / self.divisor
        if self.factor is not None:
            logits = logits * self.factor
        return logits if self.cap is None else torch.tanh(logits / self.cap) * self.cap

    @torch.no_grad()
    def _try(self, model: Any, text: nn.Module) -> None:
        """Have a token go through transformers' own, with numbers put in whose way shows: small or rounded
        ones, or log-probabilities of the first group, may not."""
        put: list[torch.Tensor] = []
        read: list[torch.Tensor] = []

        def ramp(like: torch.Tensor, most: float) -> torch.Tensor:
            steps = torch.linspace(-most, most, like.shape[-1], device=like.device)
            put.append(steps.to(like.dtype).expand_as(like))
            return put[-1]

        def states(_: Any, __: Any, made: Any) -> Any:
            made.last_hidden_state = ramp(made.last_hidden_state, 2)
            return made

        def logits(_: Any, given: tuple[torch.Tensor, ...], made: torch.Tensor) -> torch.Tensor:
            read.append(given[0])
            return ramp(made, 100)

        hooks = [text.register_forward_hook(states), self.module.register_forward_hook(logits)]
        try:
            token = torch.zeros(1, 1, dtype=torch.long, device=model.device)
            read.append(model(input_ids=token, use_cache=False).logits)
        finally:
            for hook in hooks:
                hook.remove()
        numbers = [one.float().tolist() for one in read]

        def does() -> bool:
            return (
                len(put) == 2 and [one.float().tolist() for one in (put[0], self._after(put[1]))] == numbers
            )

        if not does() and (self.factor or self.divisor):  # as of Aya Vision, around its text model
            wanted = self.factor or 1 / (self.divisor or 1)
            self.factor = self.divisor = None
            log.warning("The configuration of %s asks for logits times %g, which transformers leaves out: "
                        "at a temperature of 1 it samples as its text model at %g. sampling.temperature %g "
                        "makes up for it.", type(model).__name__, wanted, wanted, 1 / wanted)  # fmt: skip
        if not does():
            raise ValueError(f"{type(model).__name__} does something else to what its head reads or makes")
