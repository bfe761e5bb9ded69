"""One call from raw observations to a forecast with quantiles."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import torch

from data.calendar import calendar
from data.clock import read_instants
from data.dataset import DataSet, Manifest
from data.errors import DataError
from data.flow_edges import flow_edges
from data.panel import Panel
from data.regular import floor_to, steps_after, steps_until
from pipelines.artefact import Artefact, load_artefact
from pipelines.intervals import LEVELS
from pipelines.prepare import LARGEST, flows_among

QUANTILES = (0.05, 0.5, 0.95)
YEARS = (1900, 2100)  # beyond them a time is a mistake, and the libraries disagree about clocks


class Predictor:
    """A loaded forecaster. Safe to share between threads: it holds no state that a call changes."""

    def __init__(self, artefact: Artefact) -> None:
        self.config = artefact.config
        self.network, self.calibration = artefact.network, artefact.calibration
        self.edge_steps = self.network.edge_steps
        self.protection = artefact.config.promised

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

        Raises DataError for a missing column, an unknown node, an empty window, a horizon or a quantile out of reach,
        and where the model reads flows between the nodes, which observations don't have.
        """
        values, mask, cutoff = self.window(fresh=observations)
        edges = self.edges(cutoff)
        return self.forecast_window(
            values, mask, cutoff, edges=edges, horizon=horizon, nodes=nodes, quantiles=quantiles
        )

    def forecast_panel(
        self,
        panel: Panel,
        *,
        flows: pl.DataFrame | None = None,
        horizon: int | None = None,
        nodes: Sequence[str] | None = None,
        quantiles: Sequence[float] = QUANTILES,
    ) -> pl.DataFrame:
        """The same from the newest window of a stored data set, and its flows where the model reads them."""
        values, mask, cutoff = self.window(history=panel)
        edges = self.edges(cutoff, history=panel, flows=flows)
        return self.forecast_window(
            values, mask, cutoff, edges=edges, horizon=horizon, nodes=nodes, quantiles=quantiles
        )

    def forecast_window(
        self,
        values: np.ndarray,
        mask: np.ndarray,
        cutoff: pd.Timestamp,
        *,
        edges: np.ndarray | None = None,
        horizon: int | None,
        nodes: Sequence[str] | None,
        quantiles: Sequence[float],
    ) -> pl.DataFrame:
        """From `values` and `mask` [W, N, F], and `edges` [K, N, N] where the model reads them (`self.edges`), that end
        at `cutoff`, the last step known."""
        steps = self._checked_horizon(horizon)
        chosen = self._checked_nodes(nodes)
        _check_quantiles(quantiles)
        future = steps_after(cutoff, self.config.interval, self.config.shape["horizon"])
        past = steps_until(cutoff, self.config.interval, len(values))
        clock = calendar(pd.DatetimeIndex(past.append(future)), self.config.country)
        point = self._point(values, mask, clock, edges)  # [H, N, F]
        columns = {"forecast": point} | {
            quantile_name(q): self._not_below_zero(point + self.calibration.residual(q)) for q in quantiles
        }
        return self._frame(columns, future, steps, chosen)

    @torch.no_grad()
    def _point(self, values: np.ndarray, mask: np.ndarray, clock: np.ndarray, edges: np.ndarray | None) -> np.ndarray:
        known = [np.where(mask, values, 0.0), mask, clock] + ([] if edges is None else [edges])
        forecast = self.network(*(torch.from_numpy(part)[None] for part in known))[0]
        return self._not_below_zero(forecast.double().numpy())

    def _not_below_zero(self, values: np.ndarray) -> np.ndarray:
        return np.maximum(values, 0.0) if self.config.is_count else values

    def window(
        self, *, history: Panel | None = None, fresh: pl.DataFrame | None = None
    ) -> tuple[np.ndarray, np.ndarray, pd.Timestamp]:
        """What the model reads, values and mask [W, N, F], and the cutoff: the newest step of `history` or of `fresh`.

        A fresh value wins over a stored one; a null says nothing, so what is stored stays. Raises DataError.
        """
        stored = self.recent(history) if history is not None else None
        rows = self._readings(fresh) if fresh is not None else None
        cutoff = self._newest(stored, rows)
        steps = steps_until(cutoff, self.config.interval, self.config.shape["window"])
        values = np.full((len(steps), len(self.config.nodes), len(self.config.variables)), np.nan)
        if stored is not None:
            at = stored.index.get_indexer(steps)
            values[at >= 0] = stored.values[at[at >= 0]]
        if rows is not None:
            self._lay(rows, steps, values)
        mask = ~np.isnan(values)
        if not mask.any():
            raise DataError("no observation in the window that the model reads; give values for its newest steps")
        return values, mask, cutoff

    def edges(
        self, cutoff: pd.Timestamp, *, history: Panel | None = None, flows: pl.DataFrame | None = None
    ) -> np.ndarray | None:
        """What the model knows at `cutoff` of the flows of a stored data set, [K, N, N]; None if it reads none.

        Raises DataError where flows are needed and not stored up to the cutoff.
        """
        if not self.edge_steps:
            return None
        if history is None or flows is None:
            raise DataError(
                f"{self.config.name} reads what moves between the nodes, which observations alone don't tell; forecast "
                "from its stored data set: `flockcast forecast`, or POST /v1/forecasts without observations"
            )
        if history.index[-1] < cutoff:
            raise DataError(
                f"the flows between the nodes end at {history.index[-1].isoformat()}, before the newest observation at "
                f"{cutoff.isoformat()}; send none that is newer, or ingest newer data"
            )
        delay = self.config.shape.get("edge_delay", 0)
        steps = steps_until(cutoff, self.config.interval, self.edge_steps + delay)
        edges = flow_edges(flows, steps, self.config.nodes, delay=delay)[delay:]
        ended = flows["time"].max()
        if not edges.any() and isinstance(ended, datetime) and ended < steps[0]:
            raise DataError(
                f"the flows between the nodes end at {ended.isoformat()}, before the steps from "
                f"{steps[0].isoformat()} that the model reads; ingest newer flows"
            )
        return edges

    def may_read(self, manifest: Manifest) -> bool:
        """Whether it was trained on data of this kind: a model of released counts is never fed others, which would
        give away in its forecasts what the release protects."""
        is_of_a_release = self.protection is not None and self.protection.serving == "released_input"
        return (manifest.release is not None) == is_of_a_release

    def stored(self, dataset: DataSet) -> Panel:
        """What of a stored data set the model is about: its panel, or the newest flows between its nodes."""
        if not self.config.are_flows:
            return dataset.panel
        return flows_among(dataset, self.config.nodes, last=self.config.shape["window"])

    def recent(self, panel: Panel) -> Panel:
        """The end of a stored data set that a forecast reads. Raises DataError where it no longer fits the model."""
        config, window = self.config, self.config.shape["window"]
        clock = f"steps of {config.interval} in {config.timezone}"
        if (panel.interval, panel.timezone) != (config.interval, config.timezone):
            raise DataError(f"the data set no longer has {clock}, which the model was trained on; train anew")
        try:
            chosen = panel.choose(config.nodes, config.variables)
        except KeyError as error:
            raise DataError(f"the data set no longer fits the model: {error.args[0]}; train anew") from None
        return replace(chosen, values=chosen.values[-window:], mask=chosen.mask[-window:], index=chosen.index[-window:])

    def _newest(self, stored: Panel | None, rows: pl.DataFrame | None) -> pd.Timestamp:
        ends = [] if stored is None else [stored.index[-1]]
        if rows is not None:
            newest: int = rows["step"].dt.epoch("us").max()  # type: ignore[assignment]
            ends.append(pd.Timestamp(newest, unit="us", tz="UTC").tz_convert(self.config.timezone))
        return max(ends)

    def _lay(self, rows: pl.DataFrame, steps: pd.DatetimeIndex, values: np.ndarray) -> None:
        """Write the readings of `rows` over `values` [W, N, F], where they fall into the window and aren't null."""
        at = pd.Index(steps.as_unit("us").asi8).get_indexer(pd.Index(rows["step"].dt.epoch("us").to_numpy()))
        node = rows["unique_id"].cast(pl.Enum(self.config.nodes)).to_physical().to_numpy()
        readings = rows.select(pl.col(self.config.variables).fill_null(np.nan)).to_numpy()
        inside = at >= 0
        place = at[inside], node[inside]
        values[place] = np.where(np.isnan(readings[inside]), values[place], readings[inside])

    def _readings(self, observations: pl.DataFrame) -> pl.DataFrame:
        """The rows with their step; every id known, every time readable, one row per id and step."""
        config = self.config
        wanted = ["unique_id", "ds", *config.variables]
        missing = [name for name in wanted if name not in observations.columns]
        if missing:
            raise DataError(f"observations lack the column {missing[0]!r}; needed are {', '.join(wanted)}")
        if observations.is_empty():
            raise DataError("observations are empty; give at least the newest step")
        frame = observations.select(
            pl.col("unique_id").cast(pl.String), "ds", *(_number(name) for name in config.variables)
        )
        unknown = frame.filter(~pl.col("unique_id").is_in(config.nodes))
        if len(unknown):
            raise DataError(f"unknown unique_id {unknown['unique_id'][0]!r}; the model knows {_some(config.nodes)}")
        time = read_instants(frame.lazy(), "ds", timezone=config.timezone)
        rows = frame.with_columns(step=floor_to(time.instant, config.interval, config.timezone))
        unread = rows.filter(pl.col("step").is_null())
        if len(unread):
            raise DataError(f"can't read the time {unread['ds'][0]!r}; write it like 2024-03-01T08:00:00+01:00")
        afar = rows.filter(~pl.col("step").dt.year().is_between(*YEARS))
        if len(afar):
            raise DataError(f"the time {afar['ds'][0]} is outside the years {YEARS[0]} to {YEARS[1]}")
        twice = rows.filter(pl.struct("unique_id", "step").is_duplicated())
        if len(twice):
            raise DataError(f"two rows for {twice['unique_id'][0]!r} at {twice['ds'][0]}; give one")
        self._check_range(rows)
        return rows

    def _check_range(self, rows: pl.DataFrame) -> None:
        least = 0.0 if self.config.is_count else -LARGEST
        for name in self.config.variables:
            beyond = rows.filter(~pl.col(name).is_between(least, LARGEST))
            if len(beyond):
                row = beyond.row(0, named=True)
                reason = (
                    "counts are never negative" if row[name] < 0 and self.config.is_count else "that is no observation"
                )
                raise DataError(f"{name} of {row['unique_id']!r} at {row['ds']} is {row[name]:g}; {reason}")

    def _checked_horizon(self, horizon: int | None) -> int:
        most = int(self.config.shape["horizon"])
        if horizon is not None and not 1 <= horizon <= most:
            raise DataError(
                f"horizon {horizon} is out of reach: this model forecasts 1 to {most} steps of {self.config.interval}"
            )
        return horizon or most

    def _checked_nodes(self, nodes: Sequence[str] | None) -> list[int]:
        place = {name: i for i, name in enumerate(self.config.nodes)}
        for name in nodes or ():
            if name not in place:
                raise DataError(f"unknown node {name!r}; the model knows {_some(self.config.nodes)}")
        return [place[name] for name in dict.fromkeys(nodes)] if nodes else list(place.values())

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
