"""Runs made by hand, large and small, for the report to describe."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

from data.dataset import DataSet, Manifest, Release
from data.panel import Panel
from pipelines.privacy.claim import Protection
from pipelines.privacy.utility import Point
from pipelines.results import Backtest, Explanation, Forecast, History, Intervals, Registered
from pipelines.spec import Spec, parse_spec

Run = dict[str, Any]  # the arguments of write_report but `path`
SPREAD = {"gru": 0.8, "naive": 2.0, "seasonal_naive_day": 1.5, "seasonal_naive_week": 1.2, "ridge": 1.1, "stid": 1.0}
HOSTILE = "<script>alert('node')</script>"


@pytest.fixture
def make_run() -> Callable[..., Run]:
    return build_run


@pytest.fixture
def city() -> Run:
    """12 nodes with coordinates, 2 variables, flows."""
    return build_run()


@pytest.fixture
def hostile() -> Run:
    """One node with a name that is a script, one variable, one step ahead, no flows, no coordinates."""
    return build_run(
        nodes=(HOSTILE,), variables=("</script><b>y",), horizon=1, coordinates=False, flows=False, text=HOSTILE
    )


@pytest.fixture
def long_names() -> Run:
    """40 nodes whose names are too long for any axis, flows, no coordinates; a yardstick is better than ours."""
    nodes = tuple(
        f"Station {n:02d} at the corner of a rather long avenue & <b>an even longer street</b>" for n in range(40)
    )
    return build_run(nodes=nodes, coordinates=False, spread={**SPREAD, "ridge": 0.7})


@pytest.fixture
def private_run(released: Protection) -> Run:
    """A run on released counts, beside versions that promise more, less and nothing."""
    return of_release(build_run(), released)


@pytest.fixture
def raw_run(dp_sgd: Protection) -> Run:
    """A run that was trained privately on raw counts."""
    return {**build_run(), "protection": dp_sgd}


def of_release(run: Run, protection: Protection, *, variance: float = 2.25) -> Run:
    variances = {**dict.fromkeys(run["backtest"].variables, variance), "flow": variance / 12}
    release = Release(protection.to_json(), variances, {"2023-03-02": 1}, ["release-1"])
    manifest = replace(
        run["dataset"].manifest, release=release, rows_read=0, rows_used=0, rejected={}, notes={}, quarantine=None
    )
    points = [
        Point("1", "gru", 0.5, 9.0, 9.0, False),
        Point("3", "gru", protection.claim.epsilon, 8.2, variance, True),
        Point("2", "lstm", None, 8.0, 0.0, False),
    ]
    return {**run, "dataset": replace(run["dataset"], manifest=manifest), "protection": protection, "points": points}


@pytest.fixture
def make_pairs() -> Callable[..., Backtest]:
    return build_pairs


@pytest.fixture
def make_explanation() -> Callable[..., Explanation]:
    return build_explanation


@pytest.fixture
def three() -> Explanation:
    """3 variables, one of them with a name that is a script."""
    return build_explanation((HOSTILE, "recovered", "deaths"))


@pytest.fixture
def sixty() -> Explanation:
    """60 variables with names too long for any axis."""
    return build_explanation(tuple(f"Station {n:02d} at a rather long avenue, inflow" for n in range(60)))


@pytest.fixture
def graph_run(three: Explanation) -> Run:
    """A run of a model with a learned graph of 3 variables."""
    return {**build_run(variables=three.variables), "explanation": three}


@pytest.fixture
def large_graph_run(sixty: Explanation) -> Run:
    """A run of a model with a learned graph of 60 variables."""
    return {**build_run(), "explanation": sixty}


def build_run(
    *,
    nodes: tuple[str, ...] = tuple(f"zone-{n}" for n in range(12)),
    variables: tuple[str, ...] = ("inflow", "outflow"),
    cutoffs: int = 60,
    stride: int = 1,
    horizon: int = 6,
    coordinates: bool = True,
    flows: bool = True,
    spread: dict[str, float] | None = None,
    text: str = "Bike trips in a town that was made up",
    registered: bool = True,
) -> Run:
    chance = np.random.default_rng(0)
    panel = _panel(chance, nodes, variables, 200 + cutoffs * stride + horizon, coordinates)
    backtest = _backtest(chance, panel, cutoffs, stride, horizon, SPREAD if spread is None else spread)
    return {
        "spec": _spec(text),
        "dataset": DataSet(panel, _flows(chance, panel) if flows else None, _manifest(panel, text)),
        "backtest": backtest,
        "forecast": _forecast(panel, backtest, horizon),
        "history": _history(chance),
        "registered": _registered() if registered else None,
    }


def _spec(text: str) -> Spec:
    data = {"kind": "trips", "files": "trips.csv", "columns": {"start": "a", "end": "b", "source": "c", "target": "d"}}
    return parse_spec({"name": "made-up-town", "description": text, "data": data}, folder=Path("."))


def _panel(
    chance: np.random.Generator, nodes: tuple[str, ...], variables: tuple[str, ...], steps: int, coordinates: bool
) -> Panel:
    shape = (steps, len(nodes), len(variables))
    hours = np.arange(steps)[:, None, None]
    level = 40 / (1 + np.arange(len(nodes)))[None, :, None] ** 0.6
    phase = np.arange(len(variables))[None, None, :]
    wave = 1.1 + np.sin(2 * np.pi * (hours / 24 - phase / 4)) * np.where(hours % 168 < 120, 1, 0.5)
    values = chance.poisson(np.broadcast_to(level * wave, shape)).astype(float)
    mask = np.ones(shape, dtype=bool)
    mask[50:62, : len(nodes) // 2] = False
    mask[-20:-17, 0] = False
    values[~mask] = np.nan
    static = pl.DataFrame({"node": list(nodes), "label": [_street(n) for n in nodes]})
    if coordinates:
        angle = np.arange(len(nodes)) * 2.4
        away = 0.012 * np.sqrt(np.arange(len(nodes)))
        static = static.with_columns(
            pl.Series("latitude", 59.91 + away * np.cos(angle)),
            pl.Series("longitude", 10.75 + 2 * away * np.sin(angle)),
        )
    index = pd.date_range("2023-03-02", periods=steps, freq="h", tz="Europe/Oslo")
    return Panel(values, mask, index, nodes, variables, "1h", static)


def _street(node: str) -> str | None:
    streets = ["Harbour", "Old market", "Station", "Opera", "Hill park", "University", "Hospital", "Mill", "Bridge"]
    return streets[int(node[5:])] if node.startswith("zone-") and int(node[5:]) < len(streets) else None


def _backtest(
    chance: np.random.Generator, panel: Panel, cutoffs: int, stride: int, horizon: int, spread: dict[str, float]
) -> Backtest:
    at = 199 + stride * np.arange(cutoffs)
    where = at[:, None] + 1 + np.arange(horizon)
    truth, mask = panel.values[where], panel.mask[where]
    size = np.nan_to_num(np.sqrt(np.nanmean(panel.values, axis=0)))
    growth = np.sqrt(1 + np.arange(horizon) / horizon)[None, :, None, None]
    filled = np.where(mask, truth, np.nanmean(panel.values, axis=0))
    forecasts = {
        m: np.maximum(filled + s * size * growth * chance.standard_normal(truth.shape), 0) for m, s in spread.items()
    }
    ours = next(iter(spread))
    intervals = {
        method: _intervals(method, forecasts[ours], truth, mask, size, width)
        for method, width in (("split", 1.72), ("adaptive", 1.6))
    }
    return Backtest(
        protocol="Walk-forward over the last 66 steps, a forecast from every step, models fitted once on the training "
        "range; scores on the original scale over observed values only.",
        model=ours,
        cutoffs=panel.index[at],
        interval="1h",
        nodes=panel.nodes,
        variables=panel.variables,
        truth=truth,
        mask=mask,
        forecasts=forecasts,
        scores=_scores(forecasts, truth, mask),
        intervals=intervals,
        served="split",
    )


def build_pairs(
    nodes: tuple[str, ...] = tuple(f"zone-{n}" for n in range(12)), *, cutoffs: int = 20, horizon: int = 3
) -> Backtest:
    """Flows between all pairs of `nodes`: a source is a node, a target a variable. The forecast is 1.3 times too high
    for the first target and 0.7 times too low for the second, and right on average for the others."""
    chance, size = np.random.default_rng(2), len(nodes)
    busy = 1 / (1 + np.arange(size)) ** 0.8
    level = 30 * busy[:, None] * busy[None, :]
    truth = chance.poisson(np.broadcast_to(level, (cutoffs, horizon, size, size))).astype(float)
    mask = chance.random(truth.shape) > 0.1
    mask[:, :, -1, -1] = False
    bias = np.array([1.3, 0.7, *([1.0] * (size - 2))])
    forecast = bias * level * (1 + 0.05 * chance.standard_normal(truth.shape))
    run = build_run(cutoffs=cutoffs, horizon=horizon)["backtest"]
    forecasts = {"gru": forecast, "naive": truth + 1}
    truth[~mask] = np.nan
    return replace(run, nodes=nodes, variables=nodes, truth=truth, mask=mask, forecasts=forecasts)


def _intervals(
    method: str, forecast: np.ndarray, truth: np.ndarray, mask: np.ndarray, size: np.ndarray, width: float
) -> Intervals:
    half = np.broadcast_to(width * size, forecast.shape)
    inside = np.abs(truth - forecast) <= half
    by_horizon = np.array([inside[:, h][mask[:, h]].mean() for h in range(forecast.shape[1])])
    return Intervals(
        method, 0.9, forecast - half, forecast + half, float(inside[mask].mean()), by_horizon, float(2 * half.mean())
    )


def _scores(forecasts: dict[str, np.ndarray], truth: np.ndarray, mask: np.ndarray) -> pl.DataFrame:
    rows = []
    for model, forecast in forecasts.items():
        for horizon in range(truth.shape[1] + 1):
            steps = slice(None) if horizon == 0 else slice(horizon - 1, horizon)
            seen = mask[:, steps]
            y = truth[:, steps][seen]
            off = np.abs(forecast[:, steps][seen] - y)
            positive = y > 0
            rows.append(
                {
                    "model": model,
                    "horizon": horizon,
                    "variable": "all",
                    "mae": float(off.mean()),
                    "rmse": float(np.sqrt((off**2).mean())),
                    "mape": float((off[positive] / y[positive]).mean()),
                    "smape": float((2 * off / np.maximum(off + 2 * y, 1e-9)).mean()),
                    "mase": float(off.mean() / 3),
                    "msle": float(((np.log1p(forecast[:, steps][seen]) - np.log1p(y)) ** 2).mean()),
                    "count": int(seen.sum()),
                }
            )
    return pl.DataFrame(rows)


def _flows(chance: np.random.Generator, panel: Panel) -> pl.DataFrame:
    nodes = list(panel.nodes)
    pairs = [(a, b) for i, a in enumerate(nodes) for j, b in enumerate(nodes) if (i * j) % 5 != 4]
    weight = [int(chance.integers(1, 400) / (1 + nodes.index(a)) + 1) for a, _ in pairs]
    source, target = zip(*pairs, strict=True)
    once = pl.DataFrame({"source": source, "target": target, "weight": weight})
    steps = [once.sample(fraction=0.4, seed=t) for t in range(len(panel.index)) if t % 24 > 4]  # nights are quiet
    times = [time.to_pydatetime() for t, time in enumerate(panel.index) if t % 24 > 4]
    parts = [step.with_columns(time=pl.lit(time)) for step, time in zip(steps, times, strict=True)]
    return pl.concat(parts).select("time", "source", "target", "weight").sort("time", "source", "target")


def _forecast(panel: Panel, backtest: Backtest, horizon: int) -> Forecast:
    cutoff = panel.index[-1]
    rows = [
        {
            "unique_id": node,
            "ds": (cutoff + pd.Timedelta(hours=h)).to_pydatetime(),
            "variable": variable,
            "lead_time": h,
            "forecast": float(np.nanmean(panel.values[h::24, i, j])),
        }
        for i, node in enumerate(panel.nodes)
        for j, variable in enumerate(panel.variables)
        for h in range(1, horizon + 1)
    ]
    middle = pl.col("forecast")
    frame = pl.DataFrame(rows).with_columns(q05=middle - 4, q50=middle, q95=middle + 4)
    return Forecast(backtest.model, "3", cutoff, frame)


def _history(chance: np.random.Generator) -> History:
    epochs = np.arange(24)
    train = 0.3 + 0.7 * np.exp(-epochs / 5)
    validation = train + 0.03 + 0.0006 * np.maximum(epochs - 12, 0) ** 2 + 0.01 * chance.standard_normal(24)
    frame = pl.DataFrame(
        {"epoch": epochs, "train_loss": train, "validation_loss": validation, "learning_rate": 1e-3, "seconds": 1.7}
    )
    return History(frame, best_epoch=int(epochs[validation.argmin()]), device="cpu, 1 thread", parameters=14_402)


def build_explanation(variables: tuple[str, ...], *, epochs: int = 24) -> Explanation:
    """Weights that grow out of noise; variable 1 takes most of variable 0, by less than nothing."""
    chance, size = np.random.default_rng(1), len(variables)
    grown = 1 - np.exp(-np.arange(epochs) / 5)[:, None, None]
    layers = chance.standard_normal((2, size, size)) * chance.random((2, size, size)) ** 3 / np.sqrt(size)
    source, target = (grown * layer + 0.02 * chance.standard_normal((epochs, size, size)) for layer in layers)
    source[:, 0, 0] = 1.0
    target[:, 1, 0] = -3.0 * grown[:, 0, 0]
    return Explanation(variables, source, target, best_epoch=epochs - 6)


def _manifest(panel: Panel, text: str) -> Manifest:
    return Manifest(
        name="made-up-town",
        version="9f2c51ab03de7744",
        sources={f"/somewhere/private/{text[:40].replace('/', '')}.csv": "ab" * 32},
        rows_read=68_211,
        rows_used=66_013,
        rejected={"end_before_start": 411, "outside_the_span": 1_502, "unknown_zone": 282, "over_long_trip": 3},
        notes={"repeated_hour": 12},
        source_columns={"start": "String"},
        span=(panel.index[0].isoformat(), panel.index[-1].isoformat()),
        interval="1h",
        timezone="Europe/Oslo",
        nodes=len(panel.nodes),
        variables=list(panel.variables),
        observed_share=float(panel.mask.mean()),
        origin=text,
        licence="CC BY 4.0",
        recipe="0123456789abcdef",
        quarantine="/somewhere/private/quarantine.parquet",
    )


def _registered() -> Registered:
    return Registered(
        name="made-up-town",
        version="3",
        alias="champion",
        run_id="3f1d8a02",
        tracking_uri="postgresql://anna:secret@db.example.org/mlflow",
        reason="Its MAE of 3.62 is 4.1 % below that of version 2 on the same backtest; 1 % was needed.",
    )
