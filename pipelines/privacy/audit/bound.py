"""Lower bounds on epsilon: by one training with many canaries, and by many trials with and without one.

Steinke, Nasr, Jagielski, Privacy Auditing with One (1) Training Run, arXiv:2305.08846, theorem 5.2. Of m canaries,
each in the training by a fair coin, r are guessed "in" or "out" and v guesses are right. An (epsilon, delta)-private
training gives v right guesses or more with at most `p_value`; so every epsilon with a small p-value is refuted.
"""

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.special import gammaln, log_expit
from scipy.stats import beta

Verdict = Literal["violated", "consistent", "vacuous"]
HIGHEST = 64.0  # no audit of this kind refutes so much: it takes e^64 guesses


def p_value(epsilon: float, *, m: int, r: int, v: int, delta: float) -> float:
    """At most how often `v` of `r` guesses or more are right under (epsilon, delta) with `m` canaries."""
    _check(m=m, r=r, v=v, delta=delta)
    if v == 0:
        return 1.0
    log_pmf = _log_binomial(r, epsilon)  # [r + 1]
    tail = np.exp(np.logaddexp.reduce(log_pmf[v:]))  # F(v)
    # F(v - i) - F(v), i = 1 .. v, summed from the small end: a difference of two tails near 1 would have no digits
    gained = np.logaddexp.accumulate(log_pmf[v - 1 :: -1])  # [v]
    slack = np.exp(np.max(gained - np.log(np.arange(1, v + 1))))
    return float(min(1.0, tail + 2 * m * delta * slack))


def lower_bound(*, m: int, r: int, v: int, delta: float, p: float = 0.05) -> float:
    """The largest epsilon that `v` right guesses of `r` refute with confidence 1 - p; 0 if they refute none."""
    if not 0 < p < 1:
        raise ValueError(f"p is {p}; a chance of a false alarm lies between 0 and 1")

    def refuted(epsilon: float) -> bool:
        return p_value(epsilon, m=m, r=r, v=v, delta=delta) < p

    if not refuted(0.0):
        return 0.0
    low, high = 0.0, HIGHEST
    while high - low > 1e-9:
        middle = (low + high) / 2
        low, high = (middle, high) if refuted(middle) else (low, middle)
    return low


def ceiling(*, m: int, r: int, delta: float, p: float = 0.05) -> float:
    """What the audit would have refuted with every guess right: a claim above it can't be tested so."""
    return lower_bound(m=m, r=r, v=r, delta=delta, p=p)


def two_world_bound(*, trials: int, true_positives: int, false_positives: int, delta: float, p: float = 0.05) -> float:
    """The largest epsilon that these counts of `trials` in each world refute, by either direction; at least 0.

    Whoever guesses "in" above a threshold is right so often in one world and wrong so often in the other. Clopper and
    Pearson's limits of both rates hold together with confidence 1 - p, and privacy ties them: true positives <=
    e^epsilon false positives + delta, and the same of true and false negatives.
    """
    for name, count in (("true", true_positives), ("false", false_positives)):
        if not 0 <= count <= trials:
            raise ValueError(f"{count} {name} positives of {trials} trials can't be")
    hit = beta.ppf(p / 2, true_positives, trials - true_positives + 1) if true_positives else 0.0
    alarm = beta.ppf(1 - p / 2, false_positives + 1, trials - false_positives) if false_positives < trials else 1.0
    pairs = ((hit, alarm), (1 - alarm, 1 - hit))  # guessing "in", and guessing "out"
    return max([0.0, *(math.log((right - delta) / wrong) for right, wrong in pairs if right > delta)])


def verdict(bound: float, claim: float, *, ceiling: float) -> Verdict:
    """Of a lower bound and a claimed epsilon for the same unit and delta."""
    if bound > claim:
        return "violated"
    return "vacuous" if ceiling <= claim else "consistent"


def correct_guesses(scores: Sequence[float] | npt.NDArray, included: Sequence[bool] | npt.NDArray, *, r: int) -> int:
    """Right guesses when the r / 2 highest scores are called "in", the r / 2 lowest "out" and the rest nothing.

    Raises ValueError if r is odd or above the number of canaries, and for a score that is no number.
    """
    ranked, truth = np.asarray(scores, dtype=np.float64), np.asarray(included, dtype=bool)
    if ranked.shape != truth.shape or ranked.ndim != 1:
        raise ValueError(f"{ranked.shape} scores do not belong to {truth.shape} canaries; give one score a canary")
    if r % 2 or not 0 < r <= len(ranked):
        raise ValueError(f"{r} guesses can't be half in and half out of {len(ranked)} canaries; take an even number")
    if not np.isfinite(ranked).all():
        raise ValueError(
            f"{(~np.isfinite(ranked)).sum()} scores are not finite, so there is no highest; did it diverge?"
        )
    order = np.argsort(ranked, kind="stable")
    return int(truth[order[-(r // 2) :]].sum() + (~truth[order[: r // 2]]).sum())


def _log_binomial(r: int, epsilon: float) -> npt.NDArray[np.float64]:
    """Log of Pr[k of r guesses are right], k = 0 .. r, each right with chance e^epsilon / (1 + e^epsilon)."""
    k = np.arange(r + 1)
    ways = gammaln(r + 1) - gammaln(k + 1) - gammaln(r - k + 1)
    return ways + k * log_expit(epsilon) + (r - k) * log_expit(-epsilon)


def _check(*, m: int, r: int, v: int, delta: float) -> None:
    if not 0 < r <= m:
        raise ValueError(f"{r} guesses about {m} canaries can't be made; guess at least 1 and at most each one")
    if not 0 <= v <= r:
        raise ValueError(f"{v} right guesses of {r} can't be")
    if not 0 <= delta < 1:
        raise ValueError(f"delta is {delta}; it lies between 0 and 1")
