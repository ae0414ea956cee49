"""The study's data sets and general benchmarks: one file per set, from a row to an Example."""

from holdfast.tasks.benchmarks import (
    geometry3k,
    gqa,
    mmlu_pro,
    mmmu,
    pathvqa,
    pope,
    scienceqa,
    superclevr,
    superclevr_mathv360k,
    textvqa,
    vizwiz,
)
from holdfast.tasks.benchmarks.benchmark import Benchmark

__all__ = ["BENCHMARKS", "GENERAL", "SEQUENCE", "Benchmark"]

SEQUENCE = ("scienceqa", "textvqa", "vizwiz", "gqa", "geometry3k", "pathvqa", "superclevr_mathv360k")
GENERAL = ("mmmu", "mmlu_pro", "pope")
_SETS = (
    scienceqa, textvqa, vizwiz, gqa, geometry3k, pathvqa, superclevr, superclevr_mathv360k, mmmu, mmlu_pro,
    pope,
)  # fmt: skip
BENCHMARKS: dict[str, Benchmark] = {module.BENCHMARK.name: module.BENCHMARK for module in _SETS}
