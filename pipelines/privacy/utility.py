"""What privacy costs in accuracy: the noise in the truth that forecasts are judged by, and versions side by side.

Counts of a release are the true counts plus noise of a known variance, drawn independently of everything that a
forecast from before reads. So of the mean squared error against the release that variance is the noise's own, and what
is left estimates the error against the true counts, which nobody here may look at.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from data.dataset import Release
from pipelines.privacy.claim import Claim
from pipelines.privacy.tags import INTERNAL_TAGS, SERVING
from pipelines.results import Backtest

FLOW = "flow"  # in Release.variance, of the flow of a pair
RMSE, TEST, NOISE = "flockcast.rmse", "flockcast.test", "privacy.noise_variance"


@dataclass(frozen=True)
class Point:
    """A registered version: what it promises and how far off it is, root mean square, on the same test range."""

    version: str
    model: str
    epsilon: float | None  # None: nothing is promised
    rmse: float  # against the counts that it was judged by
    noise: float  # variance of the noise in these counts, 0 in raw ones
    is_ours: bool

    @property
    def without_noise(self) -> float:
        return without_noise(self.rmse, self.noise)


def without_noise(rmse: float, variance: float) -> float:
    """What is left of an error when the noise of the truth is taken out; 0 where chance left less than that noise."""
    return math.sqrt(max(rmse**2 - variance, 0.0))


def variance_of(release: Release, backtest: Backtest) -> np.ndarray:
    """Variance of the noise in a value of each variable of the backtest, [F]."""
    if backtest.are_flows:
        return np.full(len(backtest.variables), release.variance[FLOW])
    return np.array([release.variance[name] for name in backtest.variables])


def noise_in_truth(release: Release | None, backtest: Backtest) -> float:
    """Mean variance of the noise over all values that forecasts were judged by; 0 where these are no release."""
    if release is None:
        return 0.0
    shares = backtest.mask.sum(axis=(0, 1, 2)) / max(backtest.mask.sum(), 1)  # [F]
    return float(shares @ variance_of(release, backtest))


def judged_on(backtest: Backtest) -> str:
    """Equal for versions that were judged on the same moments."""
    first, last = backtest.cutoffs[0].isoformat(), backtest.cutoffs[-1].isoformat()
    return f"{first} to {last}, {len(backtest.cutoffs)} cutoffs, {backtest.truth.shape[1]} steps ahead"


def utility_tags(release: Release | None, backtest: Backtest) -> dict[str, str]:
    """Of a version: what `points` needs of it later."""
    noise = {NOISE: repr(noise_in_truth(release, backtest))} if release is not None else {}
    return {RMSE: f"{backtest.total(backtest.model, 'rmse'):.6g}", TEST: judged_on(backtest), **noise}


def points(versions: Sequence[tuple[str, Mapping[str, str]]], claim: Claim, *, test: str, ours: str) -> list[Point]:
    """Of `versions`, number and tags, those that can be compared with `claim`: judged on the same range, and that
    promise the same kind of thing or nothing. Sorted by epsilon, without a promise last."""
    found = [
        Point(
            version=number,
            model=tags.get("flockcast.model", "?"),
            epsilon=float(tags["privacy.epsilon"]) if "privacy.claim" in tags else None,
            rmse=float(tags[RMSE]),
            noise=float(tags.get(NOISE, "0")),
            is_ours=number == ours,
        )
        for number, tags in versions
        if tags.get(TEST) == test and RMSE in tags and _is_alike(tags, claim)
    ]
    return sorted(found, key=lambda point: (point.epsilon is None, point.epsilon or 0.0, int(point.version)))


def _is_alike(tags: Mapping[str, str], claim: Claim) -> bool:
    """Epsilons of another unit, delta, relation or mechanism are no larger or smaller, they are of something else.

    Where a budget protects the data, the error of a version that promises nothing is a figure of raw counts and stays
    in the house, and this may be published.
    """
    if "privacy.claim" not in tags:
        return tags.get(SERVING) != INTERNAL_TAGS[SERVING]
    asked = {
        "privacy.unit": claim.unit,
        "privacy.relation": claim.relation,
        "privacy.delta": repr(claim.delta),
        "privacy.accountant": claim.accountant,
        "privacy.mechanism": claim.mechanism.kind,
    }
    return all(tags.get(key) == value for key, value in asked.items()) and tags.get("privacy.span") == claim.span
