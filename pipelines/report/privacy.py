"""The report's section on privacy: what is promised, what is not, what it costs in accuracy, and where to check it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from data.dataset import Release
from pipelines.privacy.card import mechanism_in_words, not_protected
from pipelines.privacy.claim import Protection
from pipelines.privacy.utility import Point, noise_in_truth, variance_of, without_noise
from pipelines.report.browse import variables_called
from pipelines.report.figures import Figure
from pipelines.report.privacy_figures import errors_figure, loudness_figure, trade_figure, typical_values
from pipelines.report.words import model_title, number, percent
from pipelines.results import Backtest


@dataclass(frozen=True)
class Private:
    """What the page shows of a model that promises something."""

    sentence: str
    mechanism: str
    is_raw: bool  # whether the page draws raw counts
    of_noise: str
    of_errors: str
    unprotected: list[str]
    ledger: str
    figures: list[Figure]


def private_section(
    protection: Protection | None,
    release: Release | None,
    backtest: Backtest,
    *,
    labels: dict[str, str],
    points: Sequence[Point],
) -> Private | None:
    """None where nothing is promised."""
    if protection is None:
        return None
    called = variables_called(backtest, labels)
    noise = noise_in_truth(release, backtest)
    loudness = [loudness_figure(backtest, variance_of(release, backtest), labels, called)] if release else []
    trade = trade_figure(list(points), protection.claim)
    return Private(
        sentence=protection.claim.sentence,
        mechanism=mechanism_in_words(protection.claim.mechanism),
        is_raw=protection.serving == "raw_input_internal",
        of_noise=of_noise(backtest, variance_of(release, backtest)) if release else "",
        of_errors=of_errors(backtest, noise),
        unprotected=[point.replace("`", "") for point in not_protected(protection)],
        ledger=f"entry {protection.ledger_seq}, run {protection.run_id}, hash {protection.ledger_hash}",
        figures=[*loudness, errors_figure(backtest, noise), *([trade] if trade else [])],
    )


def of_noise(backtest: Backtest, variance: np.ndarray) -> str:
    """How loud the noise is where most is counted, where least is, and whether it drowns anything."""
    typical = typical_values(backtest)  # [N, F]
    share = np.where(typical > 0, np.sqrt(variance)[None, :] / np.maximum(typical, 1e-12), np.nan)
    known = ~np.isnan(typical)
    drowned = int(np.sum(known & ~(share < 1)))
    stds = sorted({number(math.sqrt(value)) for value in variance.tolist()}, key=len)
    loud = f"The noise in a released value has a standard deviation of {' or '.join(stds)}"
    if np.isnan(share).all():
        return f"{loud}; the typical released value is 0 everywhere, so nothing stands out of it."
    told = f"{loud}: {percent(float(np.nanmin(share)))} of the typical value where most is counted"
    if np.sum(known) > 1:
        told += f", {percent(float(np.nanmax(share)))} where least is"
    of = f"{drowned} of {int(known.sum())} series"
    return f"{told}. " + (f"In {of} it is as large as the typical value or larger." if drowned else "It drowns none.")


def of_errors(backtest: Backtest, noise: float) -> str:
    """What of our error is the noise's own. Judged by released counts, or by raw ones: it says which."""
    ours, title = backtest.total(backtest.model, "rmse"), model_title(backtest.model)
    if not noise:
        return f"{title} has a root mean square error of {number(ours)}, judged by raw counts."
    return (
        f"All errors on this page are judged by released counts. Of the root mean square error of {title}, "
        f"{number(ours)}, the noise in these makes {number(math.sqrt(noise))} by itself; against the true counts about "
        f"{number(without_noise(ours, noise))} would be left."
    )
