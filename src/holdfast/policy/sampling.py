"""Group sampling: each prompt is prefilled once, and its completions decode on top.

On a CPU completions that begin alike are computed once for as long as they do: a policy that is sure of
its answer writes the same one several times.
"""

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
def sample_packed(backbone: Backbone, prompts: Prompts, out: Recorder, prefilled: Prefill | None) -> None:
    """Draw the completions of each prompt, into `out`.

    Args:
        prefilled: of these prompts, if it was computed already; else None.
    """
    start, group = prefilled or prefill(backbone, prompts), out.shape[1]
    steps_P = torch.arange(prompts.tokens_BP.shape[1], device=start.ends_BD.device)
    prompts_kv = list(start.kv.values()), steps_P < prompts.lengths_B[:, None]
    positions_B, most = prompts.next_positions_B, out.sampling.max_tokens
    row_X = torch.arange(len(prompts), device=positions_B.device).repeat_interleave(group)
    live = torch.arange(len(row_X), device=row_X.device)
    tokens_X = out.step(0, live, backbone.head(start.ends_BD).index_select(0, row_X))
    if backbone.replays:
        decode = FixedDecode(*prompts_kv, group, most, start.states)
        decode_in_stretches(backbone, decode, out, tokens_X, positions_B[row_X])
    else:
        _decode(backbone, Decode(*prompts_kv, 1, most, start.states), out, tokens_X, positions_B, row_X)


@torch.inference_mode()  # operations this small are noticeably faster in it
def _decode(
    backbone: Backbone,
    decode: Decode,
    out: Recorder,
    tokens_X: torch.Tensor,
    positions_N: torch.Tensor,
    row_X: torch.Tensor,
) -> None:
    """All steps after the first, into `out`. Completions of a prompt are one row until they differ.

    Args:
        tokens_X: the first token of every completion, which `out` has.
        positions_N: its rotary position in every row.
        row_X: the row of every completion.
    """
    live, shared = torch.arange(len(row_X), device=row_X.device), len(row_X) > len(positions_N)
    hidden = backbone.stepper(int(positions_N.max()) + out.sampling.max_tokens)
    for step in range(1, out.sampling.max_tokens):
        going = (~out.finished[live]).nonzero().squeeze(1)
        if not len(going):
            break
        if len(going) < len(live):
            live, tokens_X, row_X = live[going], tokens_X[going], row_X[going]
        size, vocabulary, moved = len(positions_N), len(out.draw.banned_V), False
        rows, tokens_N, way_X = row_X, tokens_X, torch.arange(len(live), device=live.device)
        if shared:
            ways, place_X = (row_X * vocabulary + tokens_X).unique(return_inverse=True)
            shared = len(ways) < len(live)  # else each has a row of its own from now on, in their order
            if shared:
                rows, tokens_N, way_X = ways // vocabulary, ways % vocabulary, place_X
            moved = not shared or bool((rows[1:] == rows[:-1]).any())
        if moved or size - len(rows) > DROP_SHARE * size:
            decode.keep(rows)
            positions_N, row_X = positions_N[rows], way_X
        elif len(rows) < size:
            tokens_N = tokens_N.new_full((size,), out.draw.pad).index_copy_(0, rows, tokens_N)
        decode.step = step - 1
        logits_NV = backbone.head(hidden(tokens_N, positions_N + decode.step, decode))
        if len(row_X) != len(logits_NV) or shared:
            logits_NV = logits_NV.index_select(0, row_X)
        tokens_X = out.step(step, live, logits_NV)
