"""Counts what a step asks of a GPU, without one: kernels, bytes, operations, memory, and a time from them.

Numbers that a GPU would compute stay uncomputed (the meta device); ids, lengths and masks, which decide
what is computed, are real and lie on the CPU. Every operation that PyTorch carries out is a kernel
with its bytes and operations, and two clocks run: the host's, which launches one after the other, and
the device's, which starts a kernel when it is launched and the one before has ended. Where the host
reads a value back, it waits for the device.
"""

from __future__ import annotations

import weakref
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map
from torch.utils.flop_counter import flop_registry


@dataclass(frozen=True)
class Card:
    """What a GPU does at its best, and what each kernel costs beside its work.

    Attributes:
        operations: of a plain bfloat16 matrix product, a second.
        bytes: read and written by a plain copy, a second.
        memory: bytes.
    """

    name: str
    operations: float
    bytes: float
    memory: float


# H200: matrix rate as measured (790 TFLOP/s, 8192 cubed); the H100 has the same processor. Bandwidths are
# 0.87 of the data sheets' 4.8 and 3.35 TB/s, as copies usually reach.
CARDS = {
    "h100": Card("H100 SXM", 790e12, 2.9e12, 80e9),
    "h200": Card("H200 SXM", 790e12, 4.2e12, 141e9),
}
LAUNCH = 15e-6
KERNEL = 2.5e-6  # seconds that even an empty kernel keeps the device, in a CUDA graph, too
PRODUCTS = 0.85  # of the matrix rate that products of other shapes reach
# Attention as shares of the matrix rate, forward and backward: FlashAttention 2 on Hopper, and the
# kernel for arbitrary masks.
ATTENTION = {"flash": (0.45, 0.33), "masked": (0.18, 0.10)}

_GATHERS = ("index_select", "embedding", "gather", "index.Tensor")
_SCATTERS = ("index_copy", "index_put", "index_add", "scatter", "embedding_dense_backward")
_READS_BACK = ("_local_scalar_dense", "nonzero", "masked_select", "unique_consecutive", "bincount", "equal")
_NO_KERNEL = ("empty", "new_empty", "detach", "_local_scalar_dense", "lift")
_REDUCTIONS = ("sum", "mean", "amax", "_softmax", "logsumexp")
_FLOATS = (torch.bfloat16, torch.float16, torch.float32, torch.float64)


@dataclass
class Part:
    """What one part of a step takes."""

    seconds: float = 0.0
    kernels: float = 0.0
    bytes: float = 0.0
    operations: float = 0.0
    kinds: Counter[str] = field(default_factory=Counter)  # seconds of the device by operation


@dataclass
class _Fused:
    """Operations that a compiler makes one kernel of; bytes by storage."""

    operations: int = 0
    reductions: int = 0
    vocabulary: bool = False
    read: dict[int, int] = field(default_factory=dict)
    made: dict[int, int] = field(default_factory=dict)

    def add(self, name: str, inputs: Any, made: Any, vocabulary: int) -> None:
        self.operations += 1
        self.reductions += name.startswith(_REDUCTIONS)
        for x in inputs:
            if (key := x.untyped_storage()._cdata) not in self.made:
                self.read[key] = bytes_of(x)
        self.made |= {x.untyped_storage()._cdata: bytes_of(x) for x in made}
        self.vocabulary |= any(vocabulary in x.shape for x in inputs)


class Meter(TorchDispatchMode):
    """While it is entered, everything is counted.

    Attributes:
        part: what operations are counted for; None: for nothing.
        parts: by name.
        peak: most bytes of uncomputed numbers that were alive at once.
    """

    def __init__(self, card: Card, vocabulary: int):
        super().__init__()
        self.card, self.vocabulary = card, vocabulary
        self.parts: defaultdict[str, Part] = defaultdict(Part)
        self.part: str | None = None
        self.training = False
        self.host = self.device = 0.0
        self.alive = self.peak = 0
        self.times = self._launches = 1.0  # for each operation that is counted
        self._fused: _Fused | None = None
        self._inside = 0  # modules whose forward pass runs: in a backward pass, again
        self._storages: dict[int, Any] = {}

    @contextmanager
    def counting(self, part: str | None) -> Iterator[None]:
        before, self.part = self.part, part
        try:
            yield
        finally:
            self.part = before

    @contextmanager
    def repeating(self, times: float, launched: bool) -> Iterator[None]:
        """What the block does stands for so many times the same, launched by the host or replayed."""
        self.times, self._launches = times, times if launched else 0.0
        yield
        self.times = self._launches = 1.0

    def wait(self) -> None:
        """The host waits for the device."""
        self._advance(self.part, max(self.host, self.device), self.device)

    def take(self, part: str, seconds: float) -> None:
        """Time of the host alone."""
        self._advance(part, self.host + seconds, self.device)

    def _advance(self, part: str | None, host: float, device: float) -> None:
        before = max(self.host, self.device)
        self.host, self.device = host, device
        if part is not None:
            self.parts[part].seconds += max(host, device) - before

    def kernel(
        self, name: str, operations: float, moved: float, share: float, part: str | None = None
    ) -> None:
        """One kernel of so many operations at a share of the matrix rate, which moves so many bytes."""
        part = part or self._part()
        if part is None:
            return
        work = max(operations / (share * self.card.operations), moved / self.card.bytes) + KERNEL
        host = self.host + LAUNCH * self._launches
        self._advance(part, host, max(self.device, host) + work * self.times)
        counted = self.parts[part]
        counted.kernels += self.times
        counted.bytes += moved * self.times
        counted.operations += operations * self.times
        counted.kinds[name] += work * self.times  # type: ignore[assignment]  # it counts parts, too

    @contextmanager
    def fusing(self) -> Iterator[None]:
        """Within the block operations that are no products are one kernel, up to the next product."""
        self._fused = _Fused()
        try:
            yield
            self._flush(())
        finally:
            self._fused = None

    def _flush(self, wanted: Sequence[torch.Tensor]) -> None:
        """Count what was fused so far; of what it made, what is `wanted` or goes on living is written."""
        if self._fused is None or not self._fused.operations:
            return
        fused, self._fused = self._fused, None
        names = {x.untyped_storage()._cdata for x in wanted}
        written = sum(size for key, size in fused.made.items() if key in names or key in self._storages)
        passes = max(1, fused.reductions)
        moved = passes * sum(fused.read.values()) + written
        part = self._part(fused.vocabulary)
        for _ in range(passes):
            self.kernel("compiled", 0.0, moved / passes, PRODUCTS, part)
        self._fused = _Fused()

    def _part(self, with_vocabulary: bool = False) -> str | None:
        if self.part is None or not self.training:
            return self.part
        if with_vocabulary:
            return "head"
        if torch._C._current_graph_task_id() == -1:
            return self.part
        return "recompute" if self._inside else "backward"

    def _enter(self, *_: Any) -> None:
        self._inside += 1

    def _leave(self, *_: Any) -> None:
        self._inside -= 1

    def __enter__(self) -> Any:
        self._hooks = [
            register_module_forward_pre_hook(self._enter),
            register_module_forward_hook(self._leave, always_call=True),
        ]
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        for hook in self._hooks:
            hook.remove()
        super().__exit__(*error)

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = str(function).removeprefix("aten.").removesuffix(".default")
        args, kwargs = _on_their_devices(function, args, dict(kwargs or {}))
        inputs = [x for x in tree_flatten((args, kwargs))[0] if isinstance(x, torch.Tensor)]
        if name.startswith("_local_scalar_dense") and inputs[0].is_meta:
            self.wait()
            return 1.0
        result = function(*args, **kwargs)
        outputs = [x for x in tree_flatten(result)[0] if isinstance(x, torch.Tensor)]
        for output in outputs:
            self._keep(output)
        self._count(name, function, args, kwargs, inputs, outputs)
        return tree_map(_known, result)

    def _count(
        self, name: str, function: Any, args: Any, kwargs: Any,
        inputs: Sequence[torch.Tensor], outputs: Sequence[torch.Tensor],
    ) -> None:  # fmt: skip
        if name.startswith(_READS_BACK):
            self.wait()
        known = {x.untyped_storage()._cdata for x in inputs}
        made = [x for x in outputs if x.untyped_storage()._cdata not in known]
        changes = function._schema.is_mutable
        if (not made and not changes) or name.startswith(_NO_KERNEL):
            return
        if self._fused is not None:
            if function.overloadpacket not in flop_registry:
                self._fused.add(name, inputs, made, self.vocabulary)
                return
            self._flush(inputs)
        if name.startswith(_GATHERS):
            moved = sum(2 * bytes_of(x) for x in made)
        elif name.startswith(_SCATTERS):
            moved = 2 * sum(bytes_of(x) for x in inputs[1:]) + sum(bytes_of(x) for x in made)
        else:
            moved = sum(bytes_of(x) for x in {id(x): x for x in (*inputs, *outputs)}.values())
            moved += sum(bytes_of(x) for x in inputs[:1]) if changes and not made else 0
        operations = 0.0
        if function.overloadpacket in flop_registry:
            operations = flop_registry[function.overloadpacket](
                *args, **kwargs, out_val=outputs[0] if len(outputs) == 1 else tuple(outputs)
            )
        part = self._part(any(self.vocabulary in x.shape for x in (*inputs, *outputs)))
        if part is not None:
            self.kernel(name, operations, moved, PRODUCTS, part)

    def _keep(self, tensor: torch.Tensor) -> None:
        if not tensor.is_meta:
            return
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key in self._storages:
            return
        self.alive += size
        if self._fused is None:
            self.peak = max(self.peak, self.alive)

        def gone(_: Any) -> None:
            self.alive -= size
            del self._storages[key]

        self._storages[key] = weakref.ref(storage, gone)


def bytes_of(tensor: torch.Tensor) -> int:
    """That a kernel reads: an expanded axis is read once."""
    count = 1
    for length, stride in zip(tensor.shape, tensor.stride(), strict=True):
        count *= length if stride else 1
    return count * tensor.element_size()


def _known(value: Any) -> Any:
    """Ids and conditions are never left uncomputed: id 0, and true."""
    if isinstance(value, torch.Tensor) and value.is_meta and value.dtype not in _FLOATS:
        return torch.full(value.shape, value.dtype == torch.bool, dtype=value.dtype, device="cpu")
    return value


def _on_their_devices(function: Any, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Numbers on the meta device, ids on the CPU, whatever device was asked for."""
    tensors = [x for x in tree_flatten((args, kwargs))[0] if isinstance(x, torch.Tensor)]
    if "device" in kwargs:
        dtype = kwargs.get("dtype") or (tensors[0].dtype if tensors else None)
        if dtype is None and function.overloadpacket is torch.ops.aten.arange:
            dtype = torch.long
        elif dtype is None and function.overloadpacket is torch.ops.aten.full:
            dtype = torch.float32 if isinstance(args[1], float) else torch.long
        if (dtype or torch.get_default_dtype()) not in _FLOATS:
            kwargs["device"] = torch.device("cpu")
        elif any(x.is_meta for x in tensors):
            kwargs["device"] = torch.device("meta")
        elif tensors and kwargs["device"] is not None:
            return args, kwargs
    if not any(x.is_meta for x in tensors):
        return args, kwargs
    if function.overloadpacket in (torch.ops.aten.index, torch.ops.aten.index_put_, torch.ops.aten.index_put):
        places = [
            where
            for index in args[1]
            for where in (
                [index] if index is None or index.dtype != torch.bool else index.nonzero().unbind(1)
            )
        ]
        args = (args[0], places, *args[2:])
    if function._schema.is_mutable and isinstance(args[0], torch.Tensor) and not args[0].is_meta:
        real = lambda x: torch.zeros(x.shape, dtype=x.dtype) if x.is_meta else x  # noqa: E731
        return tree_map(lambda x: real(x) if isinstance(x, torch.Tensor) else x, (args, kwargs))
    return tree_map(
        lambda x: x.to("meta") if isinstance(x, torch.Tensor) and not x.is_meta else x, (args, kwargs)
    )
