"""The layers of a known text model, in as few operations as they need. CPU alone.

transformers' own tree is written to be read and to be extended: hooks, captured outputs, masks and caches
that the packed pass has no use for, norms and rotations in up to a dozen operations. On a CPU a small model
spends as much time on these as on its matrix products. Here a layer is written out, around the modules that
hold its weights; whatever else is found in a model leaves it to transformers, and the policy compares both
on first use.

Shapes: N packed tokens, H query heads, h key/value heads, D head size, C hidden size.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from holdfast.policy.attention import Layout
from holdfast.policy.products import Map, is_plain, linear, linears, side_by_side

PARTS = {  # of a text model, its layers and their attention: what is computed here, and nothing else
    "text": {"embed_tokens", "layers", "norm", "rotary_emb"},
    "layer": {"input_layernorm", "self_attn", "post_attention_layernorm", "mlp"},
    "attention": {"q_proj", "k_proj", "v_proj", "o_proj"},
    "mlp": {"gate_proj", "up_proj", "down_proj", "act_fn"},  # otherwise the module is called
}
DEEP = {"visual_pos_masks", "deepstack_visual_embeds"}
MULTIPLIERS = ("embedding_multiplier", "residual_multiplier")  # of Granite, say
ROTATIONS = ("default", "linear", "llama3", "yarn")  # whose angles depend on the position alone
JOINED_WEIGHTS = 2**24  # of matrices that are copied into one another for decoding, at most
Angles = tuple[torch.Tensor, torch.Tensor]  # cosine and sine [N, 1, D]
Step = Callable[[torch.Tensor, torch.Tensor, Layout], torch.Tensor]


class Lean:
    """A text model between embeddings and head.

    Raises:
        ValueError: something in it is not known; the message says what.
    """

    def __init__(self, text: Any, windows: Sequence[int | None]):
        _expect(text, PARTS["text"])
        self.text = text
        if (kind := getattr(text.rotary_emb, "rope_type", None)) not in ROTATIONS:
            raise ValueError(f"rotary positions of type {kind}")
        if any(getattr(module, name, 1) != 1 for module in (text, *text.layers) for name in MULTIPLIERS):
            raise ValueError(f"{type(text).__name__} with multipliers")
        self.layers = [Layer(*each) for each in zip(text.layers, windows, strict=True)]
        _norm_of(text.norm)

    def takes(self, extra: Mapping[str, Any]) -> bool:
        """Whether a pass with these further arguments of the text model is known here."""
        watched = any(module._forward_hooks or module._forward_pre_hooks for module in self.text.modules())
        deep = extra.get("deepstack_visual_embeds", ())
        known = not extra or (extra.keys() == DEEP and len(deep) < len(self.layers))
        return known and not watched and not self.text.training  # hooks are shown transformers' own tree

    def hidden(
        self,
        rows_NC: torch.Tensor,
        positions_KN: torch.Tensor,
        layout: Layout,
        read: torch.Tensor | None = None,
        visual_pos_masks: torch.Tensor | None = None,
        deepstack_visual_embeds: Sequence[torch.Tensor] = (),
    ) -> torch.Tensor:
        """Last hidden states of packed tokens, or of those that are read.

        Args:
            positions_KN: rotary positions on K axes.
            read: indices of tokens; the last layer does nothing that others alone would need.
            visual_pos_masks, deepstack_visual_embeds: as Qwen3-VL's text model takes them.
        """
        angles = self.angles(positions_KN, rows_NC)
        for index, layer in enumerate(self.layers):
            rows_NC = layer(rows_NC, angles, layout, read if layer is self.layers[-1] else None)
            if visual_pos_masks is not None and index < len(deepstack_visual_embeds):
                places = visual_pos_masks[0].nonzero().squeeze(1)
                rows_NC = rows_NC.index_add(0, places, deepstack_visual_embeds[index].to(rows_NC.dtype))
        return normed(self.text.norm, rows_NC)

    def angles(self, positions_KN: torch.Tensor, like: torch.Tensor) -> Angles:
        """Cosine and sine of rotary positions on K axes, in the dtype of `like`."""
        axes = positions_KN[:, None] if len(positions_KN) > 1 else positions_KN
        cos, sin = self.text.rotary_emb(like, axes)
        return cos[0, :, None], sin[0, :, None]

    def stepper(self, axes: int, end: int) -> Step:
        """What takes decoding steps: tokens [N], their positions [N], all below `end`, and the layout."""
        text, embed = self.text, self.text.embed_tokens
        layers = [Joined(layer) if layer.joins else layer for layer in self.layers]
        table = self.angles(torch.arange(end, device=embed.weight.device).expand(axes, -1), embed.weight)

        def step(tokens_N: torch.Tensor, positions_N: torch.Tensor, layout: Layout) -> torch.Tensor:
            rows_NC = embed(tokens_N)
            cos, sin = (angles.index_select(0, positions_N) for angles in table)
            for layer in layers:
                rows_NC = layer(rows_NC, (cos, sin), layout)
            return normed(text.norm, rows_NC)

        return step


class Layer:
    """One decoder layer: attention and MLP, each after a norm and with a residual.

    Args:
        layer: transformers' module.
        window: tokens that it sees back; None for all.

    Attributes:
        within: what calls it, where its weights are to be gathered first.
    """

    def __init__(self, layer: Any, window: int | None):
        self.within: Callable[..., torch.Tensor] | None = None
        _expect(layer, PARTS["layer"])
        attention = layer.self_attn
        self.norms = [name for name in ("q_norm", "k_norm") if hasattr(attention, name)]
        _expect(attention, PARTS["attention"] | set(self.norms))
        if not hasattr(attention, "head_dim") or not hasattr(attention, "scaling"):
            raise ValueError(f"{type(attention).__name__} with heads of its own")
        if not getattr(attention, "use_rope", True):
            raise ValueError(f"{type(attention).__name__} without positions")
        _turns(attention)
        self.layer, self.attention, self.size, self.window = layer, attention, attention.head_dim, window
        for norm in (layer.input_layernorm, layer.post_attention_layernorm):
            _norm_of(norm)
        self._plain_mlp = {name for name, _ in layer.mlp.named_children()} == PARTS["mlp"]

    def __call__(
        self, rows_NC: torch.Tensor, angles: Angles, layout: Layout, read: torch.Tensor | None = None
    ) -> torch.Tensor:
        if self.within is None:
            return self.rows(rows_NC, angles, layout, read)
        return self.within(self.rows, rows_NC, angles, layout, read)

    def rows(
        self, rows_NC: torch.Tensor, angles: Angles, layout: Layout, read: torch.Tensor | None
    ) -> torch.Tensor:
        """Those that come out of it, or of them those that are read."""
        layer, attention = self.layer, self.attention
        heads = self.heads(normed(layer.input_layernorm, rows_NC), angles)
        query, key, value = (x.transpose(0, 1)[None] for x in heads)
        seen_NHD = layout.attend(attention, query, key, value, attention.scaling, self.window)[0]
        seen_NC = seen_NHD.flatten(1)
        if read is not None:
            seen_NC, rows_NC = seen_NC.index_select(0, read), rows_NC.index_select(0, read)
        rows_NC = rows_NC + attention.o_proj(seen_NC)
        return rows_NC + self.mlp(normed(layer.post_attention_layernorm, rows_NC))

    def heads(self, rows_NC: torch.Tensor, angles: Angles) -> tuple[torch.Tensor, ...]:
        """Queries [N, H, D], keys and values [N, h, D], the former two at their positions."""
        attention = self.attention
        made = self._each(rows_NC, attention.q_proj, attention.k_proj, attention.v_proj)
        query, key, value = (one.unflatten(-1, (-1, self.size)) for one in made)
        if self.norms:
            query, key = normed(attention.q_norm, query), normed(attention.k_norm, key)
        return rotated(query, angles), rotated(key, angles), value

    def mlp(self, rows_NC: torch.Tensor) -> torch.Tensor:
        mlp = self.layer.mlp
        if not self._plain_mlp:
            return mlp(rows_NC[None])[0]  # mixtures of experts take batches alone
        if not self.joins:
            return mlp(rows_NC)
        gate, up = self._each(rows_NC, mlp.gate_proj, mlp.up_proj)
        return mlp.down_proj(mlp.act_fn(gate) * up)

    def _each(self, rows_NC: torch.Tensor, *parts: nn.Linear) -> Sequence[torch.Tensor]:
        """What each linear map makes of the rows."""
        if self.joins:
            return linears(rows_NC, *map(_map, parts))
        return [part(rows_NC) for part in parts]

    @property
    def joins(self) -> bool:
        """Whether copies of its matrices, side by side, are small, and do what its modules do."""
        attention, mlp = self.attention, self.layer.mlp
        if not self._plain_mlp:
            return False
        parts = attention.q_proj, attention.k_proj, attention.v_proj, mlp.gate_proj, mlp.up_proj
        return all(map(is_plain, parts)) and sum(part.weight.numel() for part in parts) <= JOINED_WEIGHTS


class Joined(Layer):
    """A layer for decoding, without gradient: what reads the same rows is one product."""

    def __init__(self, layer: Layer):
        super().__init__(layer.layer, layer.window)
        attention, mlp = self.attention, self.layer.mlp
        self.project = side_by_side(*map(_map, (attention.q_proj, attention.k_proj, attention.v_proj)))
        self.widen = side_by_side(_map(mlp.gate_proj), _map(mlp.up_proj))
        self.queries = attention.q_proj.out_features // self.size
        self.turned = self.queries + attention.k_proj.out_features // self.size

    def heads(self, rows_NC: torch.Tensor, angles: Angles) -> tuple[torch.Tensor, ...]:
        all_NHD = linear(rows_NC, *self.project).unflatten(-1, (-1, self.size))
        turned_NHD, value = all_NHD[:, : self.turned], all_NHD[:, self.turned :]
        if self.norms:
            query, key = turned_NHD[:, : self.queries], turned_NHD[:, self.queries :]
            normal = normed(self.attention.q_norm, query), normed(self.attention.k_norm, key)
            turned_NHD = torch.cat(normal, 1)
        turned_NHD = rotated(turned_NHD, angles)
        return turned_NHD[:, : self.queries], turned_NHD[:, self.queries :], value

    def mlp(self, rows_NC: torch.Tensor) -> torch.Tensor:
        mlp = self.layer.mlp
        gate, up = linear(rows_NC, *self.widen).chunk(2, -1)
        return mlp.down_proj(mlp.act_fn(gate) * up)


def _map(part: nn.Linear) -> Map:
    return part.weight, part.bias


def _expect(module: nn.Module, names: set[str]) -> None:
    found = {name for name, _ in module.named_children()}
    if found != names:
        raise ValueError(f"{type(module).__name__} of {', '.join(sorted(found)) or 'no parts'}")


def _norm_of(norm: nn.Module) -> None:
    if not type(norm).__name__.endswith("RMSNorm") or not hasattr(norm, "variance_epsilon"):
        raise ValueError(type(norm).__name__)


def _turns(attention: nn.Module) -> None:
    """See that queries are turned as they are here: half-precision log-probabilities may not show it."""
    turn: Any = getattr(sys.modules[type(attention).__module__], "apply_rotary_pos_emb", None)
    cos, sin = torch.tensor([0.8, 0.6]), torch.tensor([0.6, 0.8])
    head = torch.arange(1.0, 5.0).view(1, 1, 1, 4)
    try:
        turned = turn(head, head, *(one.repeat(2)[None, None] for one in (cos, sin)))[0]
    except Exception:  # of another signature: the first group shows whether it is another turn
        return
    if not torch.allclose(turned.flatten(), rotated(head.flatten(), (cos.repeat(2), sin.repeat(2)))):
        raise ValueError(f"{type(attention).__name__} turns other pairs")


def normed(norm: Any, rows: torch.Tensor) -> torch.Tensor:
    """A root-mean-square norm of the last axis (arXiv 1910.07467)."""
    if rows.dtype != torch.float32:  # transformers rounds others on the way: to its bits, by its module
        return norm(rows)
    if torch.is_grad_enabled():
        return _Norm.apply(rows, norm.weight, norm.variance_epsilon)
    return _unit(rows, norm.variance_epsilon)[0].mul_(norm.weight)


def _unit(rows: torch.Tensor, epsilon: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of unit mean square, and what they were multiplied by."""
    size = torch.linalg.vector_norm(rows, dim=-1, keepdim=True)
    scale = size.square_().div_(rows.shape[-1]).add_(epsilon).rsqrt_()
    return rows * scale, scale


class _Norm(torch.autograd.Function):
    """One copy of the rows kept, and a third of autograd's passes over them."""

    @staticmethod
    def forward(ctx: Any, rows: torch.Tensor, weight: torch.Tensor, epsilon: float) -> torch.Tensor:
        unit, scale = _unit(rows, epsilon)
        ctx.save_for_backward(unit, scale, weight)
        return unit * weight

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None]:
        unit, scale, weight = ctx.saved_tensors
        along = grad * unit
        share = (along @ weight).unsqueeze(-1).div_(-unit.shape[-1])
        return torch.addcmul(grad * weight, unit, share).mul_(scale), along.flatten(0, -2).sum(0), None


def rotated(heads: torch.Tensor, angles: Angles) -> torch.Tensor:
    """Each pair of halves turned by its angle (arXiv 2104.09864)."""
    return _Rotate.apply(heads, *angles) if torch.is_grad_enabled() else _turn(heads, *angles, 1)


class _Rotate(torch.autograd.Function):
    """The way back turns by the opposite angle."""

    @staticmethod
    def forward(ctx: Any, heads: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(cos, sin)
        return _turn(heads, cos, sin, 1)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        cos, sin = ctx.saved_tensors
        return _turn(grad, cos, sin, -1), None, None


def _turn(heads: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, way: int) -> torch.Tensor:
    half = heads.shape[-1] // 2
    out, sin = heads * cos, sin[..., :half]
    out[..., :half].addcmul_(heads[..., half:], sin, value=-way)
    out[..., half:].addcmul_(heads[..., :half], sin, value=way)
    return out
