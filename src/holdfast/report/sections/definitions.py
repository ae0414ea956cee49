"""What the metrics mean, and how to make the report again."""

from __future__ import annotations

from holdfast.analysis.views import Analysis
from holdfast.report.section import Part, Section, Terms, Verbatim

DEFINITIONS = (
    ("AvgAcc", "mean over j of A[T, j]"),
    (
        "FM",
        "mean over j < T of A[T, j] − max over i ≥ j of A[i, j]. At most 0; closer to 0 is better. The "
        "maximum is over noisy cells, so FM lies somewhat below 0 even where nothing is forgotten: compare "
        "it between methods, and read BWT for whether anything was forgotten at all.",
    ),
    (
        "BWT",
        "mean over j < T of A[T, j] − A[j, j]. Negative is forgetting; positive means that later tasks "
        "helped earlier ones.",
    ),
    ("Plasticity", "mean over j of A[j, j]: accuracy just after training on the task"),
    ("Learned", "plasticity minus the base's mean accuracy on the same tasks"),
    (
        "FWT",
        "mean over j > 1 of A[j − 1, j] − A[0, j]: what earlier stages did for a task to come",
    ),
    ("TLG", "mean over j of A[j, j] − A[j − 1, j]: what a task's own stage added"),
    (
        "CTM",
        "AvgAcc over the AvgAcc of joint training by the same objective, in the same style; 1 is as good as "
        "all tasks at once",
    ),
    ("General", "mean over the general benchmarks of accuracy at the end minus the base's"),
    (
        "Intervals",
        "95 % bootstrap, 1,000 resamples of test items, the same for all stages and methods, so that what "
        "is compared is compared on the same items; with several seeds, their spread is added, as a t "
        "distribution has it. Items count as independent: where several ask about one picture, intervals and "
        "p-values are too small.",
    ),
    (
        "Shown",
        "A difference between methods is called shown when its interval leaves zero out and its p-value is "
        "at most 0.05. The p-value is that of a permutation test: the two methods' answers are swapped item "
        "by item at random, and p is the share of swaps with a difference at least as large, corrected for "
        "the number of comparisons in the table (Holm). It takes the trained models as given; other seeds "
        "are in the interval. The effect size d is the difference over the standard deviation of the items' "
        "differences. No difference shown does not mean that there is none.",
    ),
    (
        "Joint",
        "A method that trains on all tasks at once has one stage: no FM and no BWT, and its plasticity is "
        "its AvgAcc.",
    ),
)


def section(analysis: Analysis) -> Section:
    import yaml

    settings = analysis.results.settings
    config = yaml.safe_dump(settings, sort_keys=False, allow_unicode=True, width=100)
    prompts = "one prompt for every method and the base"
    if len({method.style for method in analysis.methods}) > 1:
        prompts = "each method under the prompt it was trained with, the base under each of them"
    note = (
        "A[i, j] is the accuracy after stage i on task j; i = 0 is the untouched base, T the number of "
        f"tasks. Accuracy comes from free generation, with one grader and {prompts}."
    )
    again = (
        "Save the resolved configuration (at the end of the HTML page, and `config.yaml` in the run's "
        "folder) as `experiment.yaml` and run `holdfast run experiment.yaml`. Every number is in `tables/` "
        "as CSV and JSON, every figure in `figures/` as PNG and PDF."
    )
    parts: list[Part] = [
        Terms(DEFINITIONS),
        Terms((), "How to reproduce", again),
        Verbatim("Resolved configuration", config),
    ]
    return Section("definitions", "Definitions and signs", "Definitions", parts, note)
