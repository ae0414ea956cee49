"""Families of methods compared at matched gain, budget and roll-outs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from holdfast.analysis.comparisons import METRICS, Comparison, compare
from holdfast.analysis.matched import (
    Match,
    Variant,
    at_matched_budget,
    at_matched_gain,
    rollouts,
    training_flops,
)
from holdfast.analysis.method import MethodView, by_family
from holdfast.analysis.views import Analysis

Basis = Literal["gain", "budget", "roll-outs"]
# Of what a budget is counted in: as a ratio of it is called.
AMOUNTS = {"budget": "operations", "roll-outs": "roll-outs"}
TESTED = {name: label for name, label in METRICS.items() if name != "plasticity"}  # that is matched


@dataclass(frozen=True)
class MatchedRow:
    """A family against the reference family on one basis.

    Attributes:
        match: the pair of settings; None where there is none (gain), or budgets are not known or 0.
        comparison: of the pair; None without one.
    """

    basis: Basis
    family: str
    reference: str
    match: Match | None
    comparison: Comparison | None


def matched_rows(analysis: Analysis) -> list[MatchedRow]:
    """Every family against that of the reference (else the first of SFT, else the first), on every basis;
    families of RFT against every other SFT family of several settings, too. Families without a task order
    in common are left out.

    p-values are adjusted over all of them; a pair that is chosen twice is tested once.
    """
    if len(analysis.results.sequence) < 2:
        return []
    families = by_family([method for method in analysis.sequential if method.draws.complete])
    if len(families) < 2:
        return []
    sft = [name for name, methods in families.items() if methods[0].objective == "sft"]
    chosen_family = {method.family for method in analysis.sequential if method.name == analysis.reference}
    first = [*(chosen_family & families.keys()), *sft, *families][0]
    others = [name for name in sft if name != first and len(families[name]) > 1]
    against = [(family, first) for family in families if family != first]
    rft = [name for name in families if name not in sft and name != first]  # `first` meets them all already
    against += [(family, other) for other in others for family in rft]
    orders = {name: {method.order for method in methods} for name, methods in families.items()}
    against = [(family, other) for family, other in against if orders[family] & orders[other]]
    variants = {name: [_variant(method) for method in methods] for name, methods in families.items()}
    chosen: list[tuple[Basis, str, str, Match | None]] = []
    for family, reference in against:
        sides = variants[family], variants[reference]
        chosen.append(("gain", family, reference, at_matched_gain(*sides)))
        basis, match = _equal_budget(*sides)
        chosen.append((basis, family, reference, match))
    pairs = list(dict.fromkeys((match.variant, match.reference) for *_, match in chosen if match))
    views = [(analysis.by_name[variant], analysis.by_name[reference]) for variant, reference in pairs]
    compared = dict(zip(pairs, compare(views, analysis.results, tuple(TESTED)), strict=True))
    return [
        MatchedRow(
            basis, family, reference, match, compared[match.variant, match.reference] if match else None
        )
        for basis, family, reference, match in sorted(
            chosen, key=lambda entry: get_args(Basis).index(entry[0])
        )
    ]


def _equal_budget(variants: Sequence[Variant], references: Sequence[Variant]) -> tuple[Basis, Match | None]:
    """Equal operations, or else equal roll-outs, or else the closest in operations."""
    by_operations = at_matched_budget(variants, references)
    by_rollouts = at_matched_budget(variants, references, "rollouts")
    if by_rollouts and by_rollouts.matched and not (by_operations and by_operations.matched):
        return "roll-outs", by_rollouts
    return "budget", by_operations


def _variant(method: MethodView) -> Variant:
    runs, stages = method.finished_runs, method.stages
    return Variant(
        method.name, method.order, method.draws, training_flops(runs, stages), rollouts(runs, stages)
    )
