"""The study's seven data sets and three general benchmarks, from the hub or the official releases."""

from holdfast.tasks.hub import (
    geometry3k,
    gqa,
    mmlu_pro,
    mmmu,
    pathvqa,
    pope,
    scienceqa,
    superclevr,
    textvqa,
    vizwiz,
)
from holdfast.tasks.hub.benchmark import Benchmark

__all__ = ["BENCHMARKS", "GENERAL", "SEQUENCE", "Benchmark"]

SEQUENCE = ("scienceqa", "textvqa", "vizwiz", "gqa", "geometry3k", "pathvqa", "superclevr_mathv360k")
GENERAL = ("mmmu", "mmlu_pro", "pope")
BENCHMARKS: dict[str, Benchmark] = {
    benchmark.name: benchmark
    for benchmark in (
        scienceqa.BENCHMARK, textvqa.BENCHMARK, vizwiz.BENCHMARK, gqa.BENCHMARK, geometry3k.BENCHMARK,
        pathvqa.BENCHMARK, superclevr.BENCHMARK, superclevr.MATHV360K, mmmu.BENCHMARK, mmlu_pro.BENCHMARK,
        pope.BENCHMARK,
    )
}  # fmt: skip
