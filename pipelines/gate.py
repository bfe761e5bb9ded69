"""Who becomes champion: the candidate, if it beats the present one on the same backtest by the set margin."""

from dataclasses import dataclass

import numpy as np

from pipelines.artefact import Artefact
from pipelines.evaluate import forecast_at, mase_season, targets_at
from pipelines.metrics import measure, naive_error
from pipelines.prepare import Prepared
from pipelines.results import Backtest
from pipelines.spec import Registry


@dataclass(frozen=True)
class Verdict:
    is_champion: bool
    reason: str


def judge(settings: Registry, prepared: Prepared, result: Backtest, present: Artefact | None, version: str) -> Verdict:
    """`present` is the champion's artefact and `version` its number; it forecasts anew from the same cutoffs."""
    if present is None:
        return Verdict(True, "champion: the first version of this model")
    difference = _difference(prepared, present)
    if difference:
        return Verdict(
            False, f"challenger: can't be compared with champion {version}, {difference}; promote it by hand"
        )
    metric = settings.metric
    ours, theirs = result.total(result.model, metric), champion_score(prepared, result, present, metric)
    gain = 1 - ours / theirs if theirs > 0 else 0.0
    figures = f"{metric.upper()} {ours:.4g} against {theirs:.4g} of champion {version} on the same backtest"
    if gain >= settings.min_improvement and ours < theirs:
        return Verdict(True, f"champion: {figures}, {gain:.1%} better (asked: {settings.min_improvement:.1%})")
    word = f"{gain:.1%} better" if gain > 0 else f"{-gain:.1%} worse" if gain < 0 else "no better"
    return Verdict(False, f"challenger: {figures}, {word} (asked: {settings.min_improvement:.1%} better)")


def champion_score(prepared: Prepared, result: Backtest, present: Artefact, metric: str) -> float:
    index = {time: i for i, time in enumerate(prepared.panel.index)}
    cutoffs = [index[cutoff] for cutoff in result.cutoffs]
    forecast = forecast_at(present.network, prepared, cutoffs, window=present.config.shape["window"])
    truth, mask = targets_at(prepared, cutoffs)
    values, seen = prepared.panel.values[: prepared.ranges.train_end], prepared.panel.mask[: prepared.ranges.train_end]
    unit = naive_error(values, seen, mase_season(prepared))
    return measure(forecast, truth, mask, unit, np.zeros_like(unit))[metric]


def _difference(prepared: Prepared, present: Artefact) -> str | None:
    """Why the two do not forecast the same thing; None where they do."""
    config, shape = present.config, prepared.shape
    here = {
        "the nodes": (config.nodes, list(prepared.panel.nodes)),
        "the variables": (config.variables, list(prepared.panel.variables)),
        "the horizon": (config.shape["horizon"], shape.horizon),
        "the interval": (config.interval, prepared.panel.interval),
    }
    for what, (theirs, ours) in here.items():
        if theirs != ours:
            return f"{what} differ" if what.endswith("s") else f"{what} differs"
    if config.shape["window"] > prepared.ranges.validation_end:
        return "its window is longer than the history before the test range"
    return None
