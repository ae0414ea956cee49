"""The study's data sets and general benchmarks, and others' streams: from a row to an Example."""

from holdfast.tasks.benchmarks import (
    coin,
    geometry3k,
    gqa,
    mllm_cl,
    mmlu_pro,
    mmmu,
    mrcl,
    pathvqa,
    pope,
    scienceqa,
    superclevr,
    superclevr_mathv360k,
    textvqa,
    visulogic,
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
_STREAMS = (*mrcl.BENCHMARKS, *visulogic.BENCHMARKS, *mllm_cl.BENCHMARKS, *coin.BENCHMARKS)
BENCHMARKS: dict[str, Benchmark] = {
    benchmark.name: benchmark for benchmark in (*(module.BENCHMARK for module in _SETS), *_STREAMS)
}
