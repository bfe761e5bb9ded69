"""The walk-forward backtest: our model and every yardstick, from the same cutoffs, on the original scale.

At each cutoff of the test range a forecaster sees what was known then and forecasts the whole horizon. With
`evaluation.refits` above 1 the test range is cut into so many blocks, and everything is fitted anew before each.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import polars as pl
import torch
from torch import nn

from data.splits import Ranges
from data.windows import WindowSampler
from models.baselines import HistoricalMean, Linear, Naive, SeasonalNaive
from models.forecaster import edge_steps
from pipelines.errors import TrainingError
from pipelines.flow_metrics import score_flows
from pipelines.intervals import Bounds, Calibration, adaptive_bounds, calibrate, measure_intervals, split_bounds
from pipelines.metrics import naive_error, score
from pipelines.prepare import Prepared
from pipelines.privacy.spec import TrainingPrivacy
from pipelines.results import Backtest, Intervals
from pipelines.ridge import fit_ridge, ridge_fits
from pipelines.spec import Baseline, DLinearModel, Evaluation, Model, Spec, StidModel
from pipelines.static_gcn import static_gcn
from pipelines.train import Fitted, fit, training_scaler

NETWORKS = {"dlinear", "stid", "gcn"}  # yardsticks that are trained and stored as ours is
ENOUGH_CUTOFFS = 30  # to calibrate intervals on; with fewer they are told to be rough
CHUNK = 256  # samples forecast at once,
CHUNK_VALUES = 2**23  # or fewer, so that a few hundred MB are enough for thousands of nodes and long seasons


@dataclass(frozen=True)
class Evaluated:
    """The backtest, and of its last fit the network and the calibration that are registered and served."""

    backtest: Backtest
    fitted: Fitted
    calibration: Calibration
    ranges: Ranges  # of that last fit
    is_internal: bool = False  # trained without privacy on protected data, by their owner's leave: stays in the house


@dataclass(frozen=True)
class Fold:
    ranges: Ranges
    cutoffs: range


def backtest(spec: Spec, prepared: Prepared, *, folder: Path, say: Callable[[str], None] = print) -> Evaluated:
    """Fit, forecast and score. `folder` keeps what was trained, so that an equal run need not train again.

    Raises TrainingError where there is nothing to learn from or to score.
    """
    folds = cut_folds(prepared.ranges, spec.evaluation, horizon=prepared.shape.horizon)
    cutoffs = [cutoff for fold in folds for cutoff in fold.cutoffs]
    truth, mask = targets_at(prepared, cutoffs)
    if not mask.any():
        raise TrainingError("the test range holds no observed target, so nothing can be scored; change task.split")
    parts = [_run_fold(spec, prepared, fold, folder, say) for fold in folds]
    forecasts = {name: np.concatenate([part.forecasts[name] for part in parts]) for name in parts[0].forecasts}
    intervals, calibration = _intervals(spec.evaluation, parts, prepared.is_count, truth, mask)
    result = Backtest(
        protocol=protocol(spec, prepared, folds),
        model=spec.model.label,
        leaky=spec.model.leaky,
        cutoffs=prepared.panel.index[cutoffs],
        interval=prepared.panel.interval,
        nodes=prepared.panel.nodes,
        variables=prepared.panel.variables,
        truth=truth,
        mask=mask,
        forecasts=forecasts,
        scores=_scores(prepared, forecasts, truth, mask),
        intervals=intervals,
        served=spec.evaluation.intervals,
        are_flows=prepared.are_flows,
    )
    return Evaluated(result, parts[-1].fitted, calibration, folds[-1].ranges)


def _scores(prepared: Prepared, forecasts: dict[str, np.ndarray], truth: np.ndarray, mask: np.ndarray) -> pl.DataFrame:
    if prepared.are_flows:
        training = slice(0, prepared.ranges.train_end)
        known = prepared.panel.values[training], prepared.panel.mask[training]
        return score_flows(forecasts, truth, mask, training=known, season=mase_season(prepared))
    return score(
        forecasts,
        truth,
        mask,
        variables=prepared.panel.variables,
        unit=mase_unit(prepared),
        is_count=prepared.is_count,
    )


def cut_folds(ranges: Ranges, evaluation: Evaluation, *, horizon: int) -> list[Fold]:
    """The cutoffs of the test range in `refits` blocks; training and validation move along with each block."""
    cutoffs = range(ranges.validation_end - 1, ranges.end - horizon, evaluation.stride)
    size = -(-len(cutoffs) // evaluation.refits)
    blocks = [cutoffs[i : i + size] for i in range(0, len(cutoffs), size)]
    return [Fold(_moved(ranges, block[0] - cutoffs[0]), block) for block in blocks]


def _moved(ranges: Ranges, steps: int) -> Ranges:
    return replace(ranges, train_end=ranges.train_end + steps, validation_end=ranges.validation_end + steps)


@dataclass(frozen=True)
class _Part:
    forecasts: dict[str, np.ndarray]
    fitted: Fitted
    calibration: Calibration


def _run_fold(spec: Spec, prepared: Prepared, fold: Fold, folder: Path, say: Callable[[str], None]) -> _Part:
    fitted = _fitted(spec, prepared, fold.ranges, folder, say)
    ours = spec.model.label
    window = prepared.shape.window
    forecasts = {ours: forecast_at(fitted.network, prepared, fold.cutoffs, window=window)}
    for name, (network, length) in _yardsticks(spec, prepared, fold, folder, say).items():
        forecasts[name] = forecast_at(network, prepared, fold.cutoffs, window=length)
    few = fold.ranges.validation_end - fold.ranges.train_end - prepared.shape.horizon + 1
    if few < ENOUGH_CUTOFFS:
        level = f"{spec.evaluation.interval_level:.0%}"
        say(f"note: intervals are calibrated on {_count(few, 'cutoff')} alone; expect them to hold less than {level}")
    return _Part(forecasts, fitted, _calibrated(spec, prepared, fold, fitted))


def _fitted(spec: Spec, prepared: Prepared, ranges: Ranges, folder: Path, say: Callable[[str], None]) -> Fitted:
    if isinstance(spec.privacy, TrainingPrivacy):
        from pipelines.private_training import fit_privately  # Opacus takes seconds to import

        return fit_privately(spec, prepared, folder=folder, ranges=ranges, say=say)
    return fit(prepared, spec.model, spec.training, folder=folder, ranges=ranges, say=say)


def _calibrated(spec: Spec, prepared: Prepared, fold: Fold, fitted: Fitted) -> Calibration:
    ranges, horizon = fold.ranges, prepared.shape.horizon
    cutoffs = range(ranges.train_end - 1, ranges.validation_end - horizon)
    forecast = forecast_at(fitted.network, prepared, cutoffs, window=prepared.shape.window)
    truth, mask = targets_at(prepared, cutoffs)
    return calibrate(truth - forecast, mask, level=spec.evaluation.interval_level)


def _yardsticks(
    spec: Spec, prepared: Prepared, fold: Fold, folder: Path, say: Callable[[str], None]
) -> dict[str, tuple[nn.Module, int]]:
    """Name -> (forecaster, its window), of those that fit the data."""
    window, horizon = prepared.shape.window, prepared.shape.horizon
    mean = training_scaler(prepared, fold.ranges.train_end).mean
    found: dict[str, tuple[nn.Module, int]] = {}
    for name in applicable(spec, prepared):
        match name:
            case "naive":
                found[name] = Naive(horizon, otherwise=mean), window
            case "linear":
                found[name] = Linear(horizon, otherwise=mean), max(window, 2)
            case "historical_mean":
                found[name] = _historical_mean(prepared, fold.ranges.train_end), window
            case "ridge":
                found[name] = fit_ridge(prepared, fold.ranges), window
            case "dlinear" | "stid" | "gcn":
                trained = fit(
                    prepared, _network(name, spec.model), spec.training, folder=folder, ranges=fold.ranges, say=say
                )
                found[name] = trained.network, window
            case _:
                period = prepared.seasons[name.removeprefix("seasonal_naive_")]
                found[name] = SeasonalNaive(horizon, period, otherwise=mean), max(window, period)
    return found


def _network(name: Literal["dlinear", "stid", "gcn"], ours: Model) -> Model:
    """What is trained as the yardstick of this name."""
    if name == "gcn":
        static = static_gcn(ours)
        assert static is not None  # `applicable` has asked
        return static
    return DLinearModel(name=name) if name == "dlinear" else StidModel(name=name)


def _historical_mean(prepared: Prepared, train_end: int) -> HistoricalMean:
    series, shape = prepared.series, prepared.shape
    known = series.values[:train_end], series.mask[:train_end], series.calendar[:train_end]
    return HistoricalMean(shape.slots_per_day, shape.nodes, shape.variables).fit(*known)


def applicable(spec: Spec, prepared: Prepared) -> list[Baseline]:
    """The spec's yardsticks that these data allow and that are not our own model.

    Beside a private training no network is trained without privacy, whose weights would lie about.
    """
    barred = {spec.model.name} | (NETWORKS if isinstance(spec.privacy, TrainingPrivacy) else set())
    return [name for name in spec.evaluation.baselines if name not in barred and _allowed(name, spec.model, prepared)]


def _allowed(name: Baseline, ours: Model, prepared: Prepared) -> bool:
    if name == "gcn":
        return static_gcn(ours) is not None
    if name == "historical_mean":
        return prepared.shape.has_week
    if name == "ridge":
        return ridge_fits(prepared.shape)
    if not name.startswith("seasonal_naive_"):
        return True
    period = prepared.seasons.get(name.removeprefix("seasonal_naive_"))
    return period is not None and max(period, prepared.shape.window) <= prepared.ranges.validation_end


@torch.no_grad()
def forecast_at(network: nn.Module, prepared: Prepared, cutoffs: range | list[int], *, window: int) -> np.ndarray:
    """Forecasts [C, H, N, F] of the steps after each cutoff (the last step known); never negative for counts."""
    horizon = prepared.shape.horizon
    starts = torch.tensor(list(cutoffs)) - (window - 1)
    read = edge_steps(network)
    sampler = WindowSampler(prepared.series, starts, window=window, horizon=horizon, edge_steps=read)
    nodes = prepared.shape.nodes
    size = max(1, min(CHUNK, CHUNK_VALUES // (window * nodes * prepared.shape.variables + read * nodes**2)))
    parts = [network(*batch.inputs).numpy() for batch in sampler.batches(size)]
    forecasts = np.concatenate(parts).astype(np.float64)
    return np.maximum(forecasts, 0.0) if prepared.is_count else forecasts


def targets_at(prepared: Prepared, cutoffs: range | list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Truth and mask [C, H, N, F] of the steps after each cutoff."""
    steps = np.array(list(cutoffs))[:, None] + 1 + np.arange(prepared.shape.horizon)
    mask = prepared.panel.mask[steps]
    return np.where(mask, prepared.panel.values[steps], 0.0), mask


def _intervals(
    settings: Evaluation, parts: list[_Part], is_count: bool, truth: np.ndarray, mask: np.ndarray
) -> tuple[dict[str, Intervals], Calibration]:
    """Both methods over the whole test range; each block is judged by the calibration that was fitted before it."""
    split: list[Bounds] = []
    adaptive: list[Bounds] = []
    asked, first, level = parts[0].calibration.asked, 0, settings.interval_level
    for part in parts:
        forecast = next(iter(part.forecasts.values()))  # ours
        block = slice(first, first := first + len(forecast))
        split.append(split_bounds(forecast, part.calibration, level=level, is_count=is_count))
        bounds, adapted = adaptive_bounds(
            forecast,
            truth[block],
            mask[block],
            replace(part.calibration, asked=asked),
            level=level,
            is_count=is_count,
            stride=settings.stride,
        )
        asked = adapted.asked
        adaptive.append(bounds)
    measured = {
        method: measure_intervals(method, level, _joined(bounds), truth, mask)
        for method, bounds in (("split", split), ("adaptive", adaptive))
    }
    return measured, adapted if settings.intervals == "adaptive" else parts[-1].calibration


def _joined(parts: list[Bounds]) -> Bounds:
    return np.concatenate([lower for lower, _ in parts]), np.concatenate([upper for _, upper in parts])


def protocol(spec: Spec, prepared: Prepared, folds: list[Fold]) -> str:
    """How it was measured, in one sentence that two results must share to be compared."""
    index, shape, ranges = prepared.panel.index, prepared.shape, folds[0].ranges
    cutoffs = [cutoff for fold in folds for cutoff in fold.cutoffs]
    fits = "once" if len(folds) == 1 else f"{len(folds)} times along the way"
    return (
        f"walk-forward backtest on {spec.name}/{prepared.dataset_version}: {_count(shape.horizon, 'step')} of "
        f"{prepared.panel.interval} ahead from {_count(len(cutoffs), 'cutoff')}, "
        f"every {_steps(spec.evaluation.stride)} from {_moment(index[cutoffs[0]])} to {_moment(index[cutoffs[-1]])} "
        f"({prepared.panel.timezone}); fitted {fits}, "
        f"first on steps until {_moment(index[ranges.train_end - 1])}, stopped and calibrated on those until "
        f"{_moment(index[ranges.validation_end - 1])}; "
        f"{describe_series(prepared)}, original scale, observed values only"
        + (
            "; LEAKY: scaled by the largest values of all steps, those of the test range too"
            if spec.model.leaky
            else ""
        )
    )


def describe_series(prepared: Prepared) -> str:
    """How many series there are, and of what."""
    shape = prepared.shape
    if prepared.are_flows:
        return f"{shape.nodes * shape.variables} flows among {_count(shape.nodes, 'node')}"
    variables = ", ".join(prepared.panel.variables)
    return f"{_count(shape.nodes, 'node')} x {_count(shape.variables, 'variable')} ({variables})"


def _steps(stride: int) -> str:
    return "step" if stride == 1 else _count(stride, "step")


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}" + ("" if number == 1 else "s")


def _moment(time: pd.Timestamp) -> str:
    return f"{time:%Y-%m-%d %H:%M}"


def mase_unit(prepared: Prepared) -> np.ndarray:
    """What MASE is measured in, [N, F]: the training error of the shortest season that fits (or of one step)."""
    training = slice(0, prepared.ranges.train_end)
    return naive_error(prepared.panel.values[training], prepared.panel.mask[training], mase_season(prepared))


def mase_season(prepared: Prepared) -> int:
    fitting = [steps for steps in prepared.seasons.values() if steps < prepared.ranges.train_end // 2]
    return min(fitting, default=1)
