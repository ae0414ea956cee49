"""What libraries read from the environment when they are loaded; processes that are started inherit it."""

from __future__ import annotations

import os

# That oneDNN and PyTorch keep for products of other sizes (`policy/products.py`), 0.6 MB each; else 1024.
KERNELS = "128"


def settings(threads: int) -> dict[str, str]:
    """One number of threads for all that computes; no more kernels than are of use, or as many as are set."""
    names = "ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"
    kernels = {name: os.environ.get(name, KERNELS) for name in names}
    return {"OMP_NUM_THREADS": str(threads), **kernels}


def settle(threads: int) -> None:
    """Have this process and those that it starts keep to them."""
    os.environ.update(settings(threads))
