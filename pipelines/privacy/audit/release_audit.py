"""Audit a release of counts: by persons who are not real, and by drawing its noise many times.

The first goes through all of it once (bounding, counting, noise); the second through the noise alone, ten thousand
times. Counts that are drawn for an audit are thrown away.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import polars as pl

from pipelines.privacy.audit.canaries import Coins
from pipelines.privacy.audit.design import Design, Outcome, TwoWorldDesign
from pipelines.privacy.audit.one_run import audit_training
from pipelines.privacy.audit.two_world import two_worlds
from pipelines.privacy.audit.user_canaries import UserCanaries, matched_filter, those_in

Counts = npt.NDArray[np.int64]
Noise = Callable[[Counts], Counts]


def audit_with_persons(
    design: Design,
    *,
    seed: int,
    canaries: UserCanaries,
    trips: pl.DataFrame,
    release: Callable[[pl.DataFrame], npt.NDArray],
    expected: npt.NDArray,
    claim: float | None,
) -> Outcome:
    """Release `trips` and the canaries that are in, as raw trips, and see who is found.

    `release` gives counts [steps, zones, zones] of raw trips with the columns of the canaries; `expected` are those of
    `trips` alone before noise. A person of `trips` is no unit here, and may be anybody.
    """

    def released(coins: Coins) -> npt.NDArray:
        return release(pl.concat([trips, those_in(canaries, coins).select(trips.columns)]))

    def score(counts: npt.NDArray) -> npt.NDArray:
        return matched_filter(canaries, counts, expected)

    return audit_training(design, seed=seed, train=released, score=score, claim=claim)


def audit_noise(
    design: TwoWorldDesign, *, noise: Noise, without: Counts, change: Counts, claim: float | None
) -> Outcome:
    """Draw the noise on the cells [K] that one unit changes, with the `change` and without it.

    The score weighs each cell by its change, which for Gaussian noise is the best there is.
    """

    def world(counts: Counts) -> Callable[[int], npt.NDArray[np.float64]]:
        def scores(trials: int) -> npt.NDArray[np.float64]:
            return (noise(np.tile(counts, (trials, 1))) @ change).astype(np.float64)

        return scores

    return two_worlds(design, included=world(without + change), excluded=world(without), claim=claim)
