"""What libraries read from the environment when they are loaded; processes that are started inherit it."""

from __future__ import annotations

import os

# That oneDNN and PyTorch keep for products of other sizes (`policy/products.py`), 0.6 MB each; else 1024.
KERNELS = "128"


def settle(threads: int) -> None:
    """One number of threads for all that computes, and no more kernels than are of use."""
    os.environ["OMP_NUM_THREADS"] = str(threads)
    for name in ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"):
        os.environ.setdefault(name, KERNELS)
