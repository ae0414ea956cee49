"""Group sampling: each prompt is prefilled once, and its completions decode on top."""

from __future__ import annotations

import torch

from holdfast.policy.backbone import Backbone
from holdfast.policy.batch import Prompts
from holdfast.policy.decoding import Decode
from holdfast.policy.drawing import Recorder
from holdfast.policy.prefill import Prefill, prefill
from holdfast.policy.stretches import FixedDecode, decode_in_stretches

# Ended rows are removed once they are this share of the rows computed: moving keys costs, too.
DROP_SHARE = 0.15


@torch.no_grad()
def sample_packed(backbone: Backbone, prompts: Prompts, out: Recorder, known: Prefill | None = None) -> None:
    """Draw the completions of each prompt, into `out`.

    Args:
        known: of these prompts, if it was computed already.
    """
    start, group = known or prefill(backbone, prompts), out.shape[1]
    hidden_ND = start.ends_BD.repeat_interleave(group, 0)
    steps_P = torch.arange(prompts.tokens_BP.shape[1], device=hidden_ND.device)
    keys = (list(start.keys.values()), steps_P < prompts.lengths_B[:, None], group, out.sampling.max_tokens)

    positions_N = prompts.next_positions_B.repeat_interleave(group)
    live = torch.arange(len(prompts) * group, device=hidden_ND.device)
    tokens_N, _ = out.step(0, live, backbone.head(hidden_ND))
    if backbone.replays:
        decode_in_stretches(backbone, FixedDecode(*keys), out, tokens_N, positions_N)
    else:
        _decode(backbone, Decode(*keys), out, tokens_N, positions_N)


@torch.inference_mode()  # operations this small are noticeably faster in it
def _decode(
    backbone: Backbone, decode: Decode, out: Recorder, tokens_N: torch.Tensor, positions_N: torch.Tensor
) -> None:
    """All steps after the first, into `out`; arguments as `decode_in_stretches` takes them."""
    live = torch.arange(len(tokens_N), device=tokens_N.device)
    ended_N = out.finished
    hidden = backbone.stepper(int(positions_N.max()) + out.sampling.max_tokens)
    for step in range(1, out.sampling.max_tokens):
        ended = int(ended_N.sum())
        if ended == len(live):
            break
        if ended > DROP_SHARE * len(live):
            keep = (~ended_N).nonzero().squeeze(1)
            decode.drop(keep)
            live, tokens_N, positions_N = live[keep], tokens_N[keep], positions_N[keep]
        decode.step = step - 1
        hidden_ND = hidden(tokens_N, positions_N + decode.step, decode)
        tokens_N, ended_N = out.step(step, live, backbone.head(hidden_ND))
