"""One call from raw observations to a forecast with quantiles."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import torch

from data.calendar import calendar
from data.clock import read_instants
from data.errors import DataError
from data.panel import Panel
from data.regular import floor_to, steps_after, steps_until
from pipelines.artefact import Artefact, load_artefact
from pipelines.intervals import LEVELS

QUANTILES = (0.05, 0.5, 0.95)


class Predictor:
    """A loaded forecaster. Safe to share between threads: it holds no state that a call changes."""

    def __init__(self, artefact: Artefact) -> None:
        self.config = artefact.config
        self.network, self.calibration = artefact.network, artefact.calibration

    @classmethod
    def load(cls, folder: Path) -> "Predictor":
        return cls(load_artefact(folder))

    def forecast(
        self,
        observations: pl.DataFrame,
        *,
        horizon: int | None = None,
        nodes: Sequence[str] | None = None,
        quantiles: Sequence[float] = QUANTILES,
    ) -> pl.DataFrame:
        """Forecast the steps after the newest of `observations` (unique_id, ds, and a column for each variable).

        Times without an offset are local in the model's time zone. At most the model's window counts; what is missing
        in it is treated as in training. Gives unique_id, ds, variable, lead_time (steps), forecast, and a column for
        each quantile (`q05` for 0.05).

        Raises DataError for a missing column, an unknown node, an empty window, a horizon or a quantile out of reach.
        """
        values, mask, cutoff = self._window(observations)
        return self.forecast_window(values, mask, cutoff, horizon=horizon, nodes=nodes, quantiles=quantiles)

    def forecast_panel(
        self,
        panel: Panel,
        *,
        horizon: int | None = None,
        nodes: Sequence[str] | None = None,
        quantiles: Sequence[float] = QUANTILES,
    ) -> pl.DataFrame:
        """The same from the newest window of a stored data set."""
        window = self.config.shape["window"]
        try:
            chosen = panel.choose(self.config.nodes, self.config.variables)
        except KeyError as error:
            raise DataError(f"the data set no longer fits the model: {error.args[0]}; train anew") from None
        values, mask = chosen.values[-window:], chosen.mask[-window:]
        return self.forecast_window(values, mask, chosen.index[-1], horizon=horizon, nodes=nodes, quantiles=quantiles)

    def forecast_window(
        self,
        values: np.ndarray,
        mask: np.ndarray,
        cutoff: pd.Timestamp,
        *,
        horizon: int | None,
        nodes: Sequence[str] | None,
        quantiles: Sequence[float],
    ) -> pl.DataFrame:
        """From `values` and `mask` [W, N, F] that end at `cutoff`, the last step known."""
        steps = self._checked_horizon(horizon)
        chosen = self._checked_nodes(nodes)
        _check_quantiles(quantiles)
        future = steps_after(cutoff, self.config.interval, self.config.shape["horizon"])
        past = steps_until(cutoff, self.config.interval, len(values))
        clock = calendar(past.append(future), self.config.country)
        point = self._point(values, mask, clock)  # [H, N, F]
        columns = {"forecast": point} | {quantile_name(q): self._not_below_zero(point + self.calibration.residual(q)) for q in quantiles}
        return self._frame(columns, future, steps, chosen)

    @torch.no_grad()
    def _point(self, values: np.ndarray, mask: np.ndarray, clock: np.ndarray) -> np.ndarray:
        x = torch.from_numpy(np.where(mask, values, 0.0).astype(np.float32))[None]
        forecast = self.network(x, torch.from_numpy(mask)[None], torch.from_numpy(clock)[None])[0]
        return self._not_below_zero(forecast.double().numpy())

    def _not_below_zero(self, values: np.ndarray) -> np.ndarray:
        return np.maximum(values, 0.0) if self.config.is_count else values

    def _window(self, observations: pl.DataFrame) -> tuple[np.ndarray, np.ndarray, pd.Timestamp]:
        """Values and mask [W, N, F] up to the newest step that is observed at all."""
        config = self.config
        rows = self._readings(observations)
        cutoff = pd.Timestamp(rows["step"].max())  # type: ignore[arg-type]
        steps = steps_until(cutoff, config.interval, config.shape["window"])
        place = {time: i for i, time in enumerate(steps)}
        node = {name: i for i, name in enumerate(config.nodes)}
        values = np.full((len(steps), len(config.nodes), len(config.variables)), np.nan)
        for step, name, *readings in rows.select("step", "unique_id", *config.variables).iter_rows():
            if (row := place.get(pd.Timestamp(step))) is not None:
                values[row, node[name]] = [np.nan if reading is None else reading for reading in readings]
        mask = ~np.isnan(values)
        if not mask.any():
            raise DataError("no observation in the window that the model reads; give values for its newest steps")
        return values, mask, cutoff

    def _readings(self, observations: pl.DataFrame) -> pl.DataFrame:
        """The rows with their step; every id known, every time readable, one row per id and step."""
        config = self.config
        wanted = ["unique_id", "ds", *config.variables]
        missing = [name for name in wanted if name not in observations.columns]
        if missing:
            raise DataError(f"observations lack the column {missing[0]!r}; needed are {', '.join(wanted)}")
        if observations.is_empty():
            raise DataError("observations are empty; give at least the newest step")
        frame = observations.select(pl.col("unique_id").cast(pl.String), "ds", *(_number(name) for name in config.variables))
        unknown = frame.filter(~pl.col("unique_id").is_in(config.nodes))
        if len(unknown):
            raise DataError(f"unknown unique_id {unknown['unique_id'][0]!r}; the model knows {_some(config.nodes)}")
        time = read_instants(frame.lazy(), "ds", timezone=config.timezone)
        rows = frame.with_columns(step=floor_to(time.instant, config.interval, config.timezone))
        unread = rows.filter(pl.col("step").is_null())
        if len(unread):
            raise DataError(f"can't read the time {unread['ds'][0]!r}; write it like 2024-03-01T08:00:00+01:00")
        twice = rows.filter(pl.struct("unique_id", "step").is_duplicated())
        if len(twice):
            raise DataError(f"two rows for {twice['unique_id'][0]!r} at {twice['ds'][0]}; give one")
        return rows

    def _checked_horizon(self, horizon: int | None) -> int:
        most = int(self.config.shape["horizon"])
        if horizon is not None and not 1 <= horizon <= most:
            raise DataError(f"horizon {horizon} is out of reach: this model forecasts 1 to {most} steps of {self.config.interval}")
        return horizon or most

    def _checked_nodes(self, nodes: Sequence[str] | None) -> list[int]:
        place = {name: i for i, name in enumerate(self.config.nodes)}
        for name in nodes or ():
            if name not in place:
                raise DataError(f"unknown node {name!r}; the model knows {_some(self.config.nodes)}")
        return [place[name] for name in nodes] if nodes else list(place.values())

    def _frame(
        self, columns: dict[str, np.ndarray], future: pd.DatetimeIndex, steps: int, chosen: list[int]
    ) -> pl.DataFrame:
        """Long format, node by node, variable by variable, in the order of time."""
        config = self.config
        lead, node, variable = np.meshgrid(np.arange(steps), chosen, np.arange(len(config.variables)), indexing="ij")
        order = [axis.transpose(1, 2, 0).ravel() for axis in (lead, node, variable)]  # node, variable, then time
        times = pl.Series(future[order[0]].tz_convert("UTC").tz_localize(None).to_numpy(), dtype=pl.Datetime("us"))
        return pl.DataFrame(
            {
                "unique_id": [config.nodes[i] for i in order[1]],
                "ds": times.dt.replace_time_zone("UTC").dt.convert_time_zone(config.timezone),
                "variable": [config.variables[i] for i in order[2]],
                "lead_time": order[0] + 1,
            }
            | {name: cells[tuple(order)] for name, cells in columns.items()}
        )


def quantile_name(quantile: float) -> str:
    """`q05` for 0.05, `q975` for 0.975: the digits after the point, at least two."""
    return f"q{f'{quantile:.6f}'.split('.')[1].rstrip('0').ljust(2, '0')}"


def _check_quantiles(quantiles: Sequence[float]) -> None:
    for quantile in quantiles:
        if not LEVELS[0] <= quantile <= LEVELS[-1]:
            raise DataError(f"quantile {quantile} is out of reach: the calibration covers {LEVELS[0]} to {LEVELS[-1]}")


def _number(name: str) -> pl.Expr:
    return pl.col(name).cast(pl.Float64, strict=False).fill_nan(None)


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
