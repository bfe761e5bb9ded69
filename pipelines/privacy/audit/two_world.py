"""The bound that many trials with one unit and as many without it allow; for what is cheap to repeat, as a release is.

The bound itself is `bound.two_world_bound`.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from pipelines.privacy.audit.bound import two_world_bound
from pipelines.privacy.audit.design import Outcome, TwoWorldDesign

Scores = npt.NDArray[np.float64]


def threshold(included: Scores, excluded: Scores, *, delta: float, p: float) -> float:
    """The cut between rehearsals of the two worlds whose bound is largest; for trials that it has not seen.

    At the level `p` of the test, divided among the cuts: the best of many would else be one far out, where a few
    rehearsals say much by chance.
    """
    trials = min(len(included), len(excluded))
    every = np.unique(np.concatenate([included, excluded]))
    cuts = every[:: max(1, len(every) // 200)]

    def bound(cut: float) -> float:
        hits, alarms = int((included[:trials] > cut).sum()), int((excluded[:trials] > cut).sum())
        return two_world_bound(trials=trials, true_positives=hits, false_positives=alarms, delta=delta, p=p / len(cuts))

    return float(max(cuts, key=bound))


def two_worlds(
    design: TwoWorldDesign,
    *,
    included: Callable[[int], Scores],
    excluded: Callable[[int], Scores],
    claim: float | None,
) -> Outcome:
    """Rehearse, fix the threshold, and test; each callable gives the scores of so many new trials of its world."""
    cut = threshold(included(design.rehearsals), excluded(design.rehearsals), delta=design.delta, p=design.level)
    hits = int((included(design.trials) > cut).sum())
    alarms = int((excluded(design.trials) > cut).sum())
    found = two_world_bound(
        trials=design.trials, true_positives=hits, false_positives=alarms, delta=design.delta, p=design.level
    )
    evidence = {"true_positives": hits, "false_positives": alarms}
    return Outcome(design, evidence, bound=found, claim=claim)
