"""Membership inference against a forecaster: how well today's attacks tell who was in the training.

A figure of risk, not a bound: a better attack may come tomorrow. Both attacks compare the audited network with
reference networks that were trained with and without each window. The likelihood of a window is P(x|f) = exp(-loss/τ).

LiRA: Carlini et al., Membership Inference Attacks From First Principles, arXiv:2112.03570, algorithm 1.
RMIA: Zarifzadeh, Liu, Shokri, Low-Cost High-Power Membership Inference Attacks, arXiv:2312.03262, equations 2 to 4.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import logsumexp
from scipy.stats import norm, rankdata

Losses = npt.NDArray[np.float64]
Members = npt.NDArray[np.bool_]
FEWEST = 8  # references of a kind below which one spread for all windows is steadier than one for each


@dataclass(frozen=True)
class Risk:
    """Of an attack's scores: how many members are found when so many others are accused, and the area under all."""

    attack: str
    tpr_at_tenth_percent: float  # true-positive rate at 0.1 % false positives
    tpr_at_one_percent: float
    auc: float  # chance that a member scores above another; 0.5 is guessing


def lira(losses: Losses, reference: Losses, members: Members, *, tau: float) -> npt.NDArray[np.float64]:
    """Log-likelihood ratio of each window [S] between the references that had it and those that had not.

    `losses` [S] of the audited network, `reference` [K, S] of K references, `members` [K, S] which had which. Raises
    ValueError for a window that every reference had, or none.
    """
    _require_both(members)
    confidence, known = _logit(losses, tau), _logit(reference, tau)
    (mean_in, std_in), (mean_out, std_out) = _normal(known, members), _normal(known, ~members)
    return norm.logpdf(confidence, mean_in, std_in) - norm.logpdf(confidence, mean_out, std_out)


def rmia(
    losses: Losses,
    reference: Losses,
    members: Members,
    *,
    population: Losses,
    population_reference: Losses,
    tau: float,
    gamma: float = 1.0,
) -> npt.NDArray[np.float64]:
    """Share of the population's windows that each window [S] beats by the factor `gamma`.

    Beats: its likelihood rose more, against the mean over references with it and without it in equal parts.
    `population` [Z] and `population_reference` [K, Z] are losses of windows that no network was trained on.
    """
    _require_both(members)
    with_it, without = (_log_mean(-reference / tau, chosen) for chosen in (members, ~members))
    usual = np.logaddexp(with_it, without) - np.log(2)
    gain = -losses / tau - usual  # [S], log P(x|f) / P(x)
    none = np.ones_like(population_reference, dtype=bool)
    population_gain = -population / tau - _log_mean(-population_reference / tau, none)  # [Z]
    return np.asarray((gain[:, None] - population_gain[None] >= np.log(gamma)).mean(axis=1))


def risk(attack: str, scores: npt.NDArray, members: Members) -> Risk:
    """Of one network: scores [S], higher for members, and who was one [S]. Raises ValueError without both kinds."""
    if members.all() or not members.any():
        raise ValueError("all windows are members, or none is; a rate needs both")
    positive, negative = np.count_nonzero(members), np.count_nonzero(~members)
    ranks = rankdata(scores)  # ties count half
    auc = (ranks[members].sum() - positive * (positive + 1) / 2) / (positive * negative)
    return Risk(attack, _tpr(scores, members, 0.001), _tpr(scores, members, 0.01), float(auc))


def _tpr(scores: npt.NDArray, members: Members, fpr: float) -> float:
    """At a cut that accuses at most this share of the others; too few of them for one accusation: of none."""
    others = np.sort(scores[~members])[::-1]
    cut = others[int(fpr * len(others))]  # strictly above it are at most so many
    return float((scores[members] > cut).mean())


def _logit(losses: Losses, tau: float) -> npt.NDArray[np.float64]:
    """log(P / (1 - P)) for P = exp(-loss/τ), which is closer to normal than P."""
    return -np.log(np.expm1(np.clip(losses / tau, 1e-12, 500)))


def _normal(known: npt.NDArray, chosen: Members) -> tuple[npt.NDArray, npt.NDArray]:
    """Mean and deviation of each column over the chosen rows [S], [S]."""
    count = chosen.sum(axis=0)
    mean = np.where(chosen, known, 0).sum(axis=0) / count
    square = np.where(chosen, (known - mean) ** 2, 0)
    if count.min() >= FEWEST:
        std = np.sqrt(square.sum(axis=0) / (count - 1))
    else:
        std = np.full_like(mean, np.sqrt(square.sum() / max(1, (count - 1).sum())))
    return mean, np.maximum(std, 1e-6)


def _log_mean(log_p: npt.NDArray, chosen: Members) -> npt.NDArray[np.float64]:
    return np.asarray(logsumexp(np.where(chosen, log_p, -np.inf), axis=0) - np.log(chosen.sum(axis=0)))


def _require_both(members: Members) -> None:
    count = members.sum(axis=0)
    lonely = (count == 0) | (count == len(members))
    if lonely.any():
        raise ValueError(
            f"{lonely.sum()} windows were in every reference network or in none; train more of them on random halves"
        )
