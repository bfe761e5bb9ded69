"""Who becomes champion: the candidate, if it beats the present one on the same backtest by the set margin."""

import math
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from data.calendar import calendar
from data.flow_edges import flow_edges
from data.windows import Series
from pipelines.artefact import Artefact
from pipelines.evaluate import forecast_at, mase_unit, targets_at
from pipelines.metrics import measure
from pipelines.prepare import Prepared
from pipelines.results import Backtest
from pipelines.spec import Registry


@dataclass(frozen=True)
class Verdict:
    is_champion: bool
    reason: str


def judge(settings: Registry, prepared: Prepared, result: Backtest, present: Artefact | None, version: str) -> Verdict:
    """`present` is the champion's artefact and `version` its number; it forecasts anew from the same cutoffs.

    Only cutoffs that the champion's training did not reach count: a champion that has seen the answers can't be beaten.
    """
    if result.leaky:
        return Verdict(False, "challenger: its scale has seen the test range (leaky), so it can never be champion")
    if present is None:
        return Verdict(True, "champion: the first version of this model")
    unseen = np.asarray(result.cutoffs >= pd.Timestamp(present.config.trained_until))  # [C]
    difference = _difference(prepared, present, unseen)
    if difference:
        return Verdict(
            False, f"challenger: can't be compared with champion {version}, {difference}; promote it by hand"
        )
    metric = settings.metric
    ours = candidate_score(prepared, result, unseen, metric)
    theirs = champion_score(prepared, result, unseen, present, metric)
    figures = f"{metric.upper()} {ours:.4g} against {theirs:.4g} of champion {version} {_where(unseen)}"
    if not math.isfinite(ours) or not math.isfinite(theirs):
        return Verdict(False, f"challenger: {figures}, which says nothing; promote it by hand")
    gain = 1 - ours / theirs if theirs > 0 else 0.0
    if gain >= settings.min_improvement and ours < theirs:
        return Verdict(True, f"champion: {figures}, {gain:.1%} better (asked: {settings.min_improvement:.1%})")
    word = f"{gain:.1%} better" if gain > 0 else f"{-gain:.1%} worse" if gain < 0 else "no better"
    return Verdict(False, f"challenger: {figures}, {word} (asked: {settings.min_improvement:.1%} better)")


def candidate_score(prepared: Prepared, result: Backtest, unseen: np.ndarray, metric: str) -> float:
    """Of the backtest's own forecasts, at the cutoffs where `unseen` [C] is True."""
    forecast = result.forecasts[result.model][unseen]
    return _score(prepared, forecast, result.truth[unseen], result.mask[unseen], metric)


def champion_score(prepared: Prepared, result: Backtest, unseen: np.ndarray, present: Artefact, metric: str) -> float:
    task = _as_read_by(present, prepared)
    cutoffs = prepared.panel.index.get_indexer(result.cutoffs[unseen]).tolist()
    forecast = forecast_at(present.network, task, cutoffs, window=present.config.shape["window"])
    return _score(task, forecast, *targets_at(task, cutoffs), metric)


def _score(prepared: Prepared, forecast: np.ndarray, truth: np.ndarray, mask: np.ndarray, metric: str) -> float:
    unit = mase_unit(prepared)
    return measure(forecast, truth, mask, unit, np.zeros_like(unit))[metric]


def _as_read_by(present: Artefact, prepared: Prepared) -> Prepared:
    """The same task with the champion's own order of nodes (the busiest change places) and its own holidays."""
    config = present.config
    panel = prepared.panel.choose(config.nodes, config.variables)
    series = Series.of(panel, calendar(panel.index, config.country), _edges_for(present, prepared))
    return replace(prepared, panel=panel, series=series, is_count=config.is_count)


def _edges_for(present: Artefact, prepared: Prepared) -> np.ndarray | None:
    """What moved between the champion's own nodes, as late as it was trained to know it."""
    config = present.config
    if not present.network.edge_steps or prepared.flows is None:
        return None
    delay = config.shape.get("edge_delay", 0)
    return flow_edges(prepared.flows, prepared.panel.index, config.nodes, delay=delay)


def _where(unseen: np.ndarray) -> str:
    if unseen.all():
        return "on the same backtest"
    return f"on the {unseen.sum()} of {len(unseen)} cutoffs that lie after its training"


def _difference(prepared: Prepared, present: Artefact, unseen: np.ndarray) -> str | None:
    """Why the two can't be measured by the same task; None where they can."""
    config, shape = present.config, prepared.shape
    here = {
        "the nodes": (sorted(config.nodes), sorted(prepared.panel.nodes)),
        "the variables": (sorted(config.variables), sorted(prepared.panel.variables)),
        "the horizon": (config.shape["horizon"], shape.horizon),
        "the interval": (config.interval, prepared.panel.interval),
        "the time zone": (config.timezone, prepared.panel.timezone),
    }
    for what, (theirs, ours) in here.items():
        if theirs != ours:
            return f"{what} differ" if what.endswith("s") else f"{what} differs"
    if present.network.edge_steps and prepared.flows is None:
        return "it reads the flows between the nodes, which these data don't have"
    if config.shape["window"] > prepared.ranges.validation_end:
        return "its window is longer than the history before the test range"
    if not unseen.any():
        return f"it has seen the test range, since it was trained until {config.trained_until}"
    return None
