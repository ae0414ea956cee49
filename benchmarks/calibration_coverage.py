"""How often the interval of an expected calibration error holds the true value: a simulation.

Confidences are drawn from a beta distribution around 0.73; answers are right as often as they say, less a
shift. Run with `python benchmarks/calibration_coverage.py` (a few seconds).
"""

from __future__ import annotations

import numpy as np

from holdfast.analysis.bootstrap import estimate, item_weights
from holdfast.analysis.calibration import calibration_error, mirrored

STUDIES, RESAMPLES = 200, 400


def main() -> None:
    many = np.random.default_rng(1).beta(4, 1.5, 400_000)
    print(
        "items  shift | true ECE, mean estimate, %; coverage of the percentile and of the mirrored interval"
    )
    for items in (100, 500):
        weights = item_weights("simulated", items, RESAMPLES)
        for shift in (0, 0.05, 0.1, 0.2):
            true, generator = np.minimum(shift, many).mean(), np.random.default_rng(5)
            found = []
            for _ in range(STUDIES):
                confidence = np.sort(generator.beta(4, 1.5, items))
                right = (generator.random(items) < confidence - shift).astype(float)
                found.append(estimate(calibration_error(confidence, right, weights)))
            held = [
                np.mean([one.low <= true <= one.high for one in intervals])
                for intervals in (found, [mirrored(one).within(0, 1) for one in found])
            ]
            mean = np.mean([one.value for one in found])
            print(
                f"{items:5}  {shift:5} | {100 * true:.1f} {100 * mean:.1f}; "
                + "; ".join(f"{100 * share:.0f} %" for share in held),
                flush=True,
            )


if __name__ == "__main__":
    main()
