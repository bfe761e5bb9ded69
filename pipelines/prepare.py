"""From a data set and a spec to a task in tensors: what `auto` means here, which nodes, which ranges.

Everything that is worked out from values (the busiest nodes, the default form of the output) reads the training range
alone. For private training nothing is.
"""

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import polars as pl
import torch

from data.calendar import calendar
from data.dataset import DataSet
from data.distance_graph import distance_km
from data.errors import DataError
from data.flow_edges import flow_edges
from data.flow_panel import pair_panel
from data.panel import Panel
from data.regular import absolute_step
from data.splits import Ranges, cut_ranges
from data.windows import Series
from models.activation import output_activation
from pipelines.errors import SpecError
from pipelines.given_graph import given_graph
from pipelines.privacy.spec import TrainingPrivacy
from pipelines.spec import GraphModel, OdData, Spec, Task, TripData
from pipelines.zoo import Shape

MINUTES_A_DAY = 1440
LONGEST_WINDOW = 288  # of `auto`: a day of five minutes; longer ones take hours to train
LARGEST = 1e30  # squares and sums of larger values leave the range of float32
SEASONS = {"d": {"week": 7, "year": 365}, "w": {"year": 52}, "mo": {"year": 12}, "q": {"year": 4}, "y": {}}


@dataclass(frozen=True)
class Prepared:
    """A task: the chosen nodes and variables, the same in tensors, and the ranges that split its steps."""

    panel: Panel
    series: Series
    ranges: Ranges
    shape: Shape
    stride: int
    seasons: dict[str, int]  # "day", "week", "year" -> steps
    country: str | None
    is_count: bool  # counts are never negative, and so are their forecasts; released ones may be, and so may these
    dataset_version: str
    sources: tuple[str, ...] = ()  # sha256 of the files that the data set was read from
    notes: tuple[str, ...] = ()
    flows: pl.DataFrame | None = None  # between all nodes of the data set, for whoever reads them
    given: torch.Tensor | None = None  # [N, N], the graph of a list of edges
    are_flows: bool = False  # the variables are the nodes again, as targets
    noise_variance: tuple[float, ...] = ()  # of each variable of a private release; empty for what was not released


def prepare(spec: Spec, dataset: DataSet) -> Prepared:
    """Raises SpecError where the task does not fit the data, DataError for a value that no network can take.

    Of a private release the values keep their sign, since clipping them at zero would be a bias, and all values of a
    variable have noise of one known variance, `noise_variance`, by which a loss weighs the series
    (`pipelines.privacy.signal`). Intervals are calibrated and judged on released values, so their width has the noise
    in it and they hold these as often as they say; of the true counts, which are less scattered, they hold more.
    """
    panel = _chosen_variables(spec.task, dataset.panel)
    _refuse_immense(panel)
    seasons = seasons_of(panel.interval)
    window, horizon = _lengths(spec.task, len(panel.index), panel.interval, seasons)
    split = spec.task.split
    try:
        ranges = cut_ranges(
            len(panel.index), validation=split.validation, test=split.test, window=window, horizon=horizon
        )
        clock = calendar(panel.index, spec.task.country)
    except ValueError as error:
        raise SpecError(f"{spec.name}: {error}") from None
    if isinstance(spec.privacy, TrainingPrivacy):
        _refuse_unseen(panel, ranges.train_end)
    panel, notes = _chosen_nodes(spec.task, panel, ranges.train_end)
    are_flows = spec.task.forecast == "flows"
    if are_flows:
        panel = flows_among(dataset, list(panel.nodes))
    delay = edge_delay(spec)
    edges = _edges(spec, dataset, panel, delay, ranges.train_end)
    series = Series.of(panel, clock, edges)
    noise = _noise(dataset, panel.variables, are_flows)
    is_count = dataset.manifest.release is None and (
        isinstance(spec.data, TripData | OdData) or spec.data.values == "counts"
    )
    training = series.values[: ranges.train_end], series.mask[: ranges.train_end]
    predict, output = _form(spec, *training, horizon=horizon, is_count=is_count)
    return Prepared(
        panel=panel,
        series=series,
        ranges=ranges,
        shape=Shape(
            window=window,
            horizon=horizon,
            nodes=len(panel.nodes),
            variables=len(panel.variables),
            slots_per_day=slots_per_day(panel.interval),
            has_week="week" in seasons,
            predict=predict,
            output=output,
            edge_delay=delay,
        ),
        stride=spec.task.stride,
        seasons=seasons,
        country=spec.task.country,
        is_count=is_count,
        dataset_version=dataset.manifest.version,
        sources=tuple(sorted(dataset.manifest.sources.values())),
        notes=notes + _about_edges(edges, delay) + _about_noise(noise, panel.variables, are_flows),
        flows=dataset.links,
        given=given_graph(spec, dataset.panel.nodes, panel.nodes),
        are_flows=are_flows,
        noise_variance=noise,
    )


def _form(
    spec: Spec, values: torch.Tensor, mask: torch.Tensor, *, horizon: int, is_count: bool
) -> tuple[Literal["value", "change"], Literal["ReLU", "Identity"]]:
    """What `auto` forecasts and which activation ends it, as the training values favour it.

    Trained privately, a network must not show what these favour: it forecasts the change from the last value, with
    which an untrained one is persistence.
    """
    if isinstance(spec.privacy, TrainingPrivacy):
        return "change", "ReLU" if is_count else "Identity"
    is_closer = persistence_is_closer(values, mask, horizon=horizon)
    return "change" if is_closer else "value", output_activation(values, mask)


def _noise(dataset: DataSet, variables: tuple[str, ...], are_flows: bool) -> tuple[float, ...]:
    release = dataset.manifest.release
    if release is None:
        return ()
    return tuple(release.variance["flow" if are_flows else name] for name in variables)


def _about_noise(noise: tuple[float, ...], variables: tuple[str, ...], are_flows: bool) -> tuple[str, ...]:
    if not noise:
        return ()
    named = {"flow": noise[0]} if are_flows else dict(zip(variables, noise, strict=True))
    told = ", ".join(f"{math.sqrt(variance):.3g} in {name}" for name, variance in named.items())
    return (f"released counts: the noise has a standard deviation of {told}",)


def edge_delay(spec: Spec) -> int:
    """After how many steps the model may know a flow: a trip is counted when it begins, and its target is known when
    it ends."""
    if not isinstance(spec.model, GraphModel) or spec.model.graph not in ("flows", "flows-mean"):
        return 0
    if spec.model.edge_delay != "auto":
        return spec.model.edge_delay
    if not isinstance(spec.data, TripData):
        return 0
    return math.ceil(spec.data.max_trip_hours / shortest_step_hours(spec.data.interval))


def shortest_step_hours(interval: str) -> float:
    """Of a day that has 23 hours where the clock changes, of February, ..."""
    step = absolute_step(interval)
    if step is not None:
        return step.total_seconds() / 3600
    number, unit = int("".join(c for c in interval if c.isdigit())), interval.lstrip("0123456789")
    return number * {"d": 24, "w": 168, "mo": 672, "q": 2160, "y": 8760}[unit] - 1


def _edges(spec: Spec, dataset: DataSet, panel: Panel, delay: int, train_end: int) -> np.ndarray | None:
    """[T, N, N] where the model reads flows; else they are left where they are."""
    if not isinstance(spec.model, GraphModel) or spec.model.graph not in ("flows", "flows-mean"):
        return None
    if dataset.flows is None:
        raise SpecError(
            f"model.graph: {spec.model.graph!r} needs what moves between the nodes: data of kind trips or od has it, "
            "series get it from [data.edges]; else choose graph 'correlation', 'distance', 'nearest' or 'given'"
        )
    if delay >= train_end:
        raise SpecError(
            f"model.edge_delay: flows are known after {delay} steps, but training has {train_end}; lower it, or "
            "data.max_trip_hours"
        )
    assert dataset.links is not None
    return flow_edges(dataset.links, panel.index, panel.nodes, delay=delay)


def _about_edges(edges: np.ndarray | None, delay: int) -> tuple[str, ...]:
    """Steps that look as if nothing moved, as they do where a source of edges has gaps or ends early."""
    if edges is None:
        return ()
    empty = np.asarray(~edges[delay:].any(axis=(1, 2)))
    return (f"{empty.sum():,} of {len(empty):,} steps have no edge between the nodes",) if empty.any() else ()


def flows_among(dataset: DataSet, nodes: list[str], *, last: int | None = None) -> Panel:
    """The panel of pairs of these nodes, of all steps or the `last` ones. Raises DataError where there are no flows."""
    if dataset.flows is None:
        raise DataError(f"the data set {dataset.manifest.name} holds no flows; they come from data of kind trips or od")
    try:
        panel = dataset.panel.choose(nodes, list(dataset.panel.variables))
    except KeyError as error:
        raise DataError(f"the data set no longer fits the model: {error.args[0]}; train anew") from None
    begin = max(0, len(panel.index) - last) if last else 0
    recent = replace(panel, values=panel.values[begin:], mask=panel.mask[begin:], index=panel.index[begin:])
    return pair_panel(dataset.flows, recent)


def slots_per_day(interval: str) -> int:
    """How many steps make a day; 1 where a step is a day or longer."""
    step = absolute_step(interval)
    return 1 if step is None else max(1, round(MINUTES_A_DAY * 60 / step.total_seconds()))


def seasons_of(interval: str) -> dict[str, int]:
    """The seasons of a series in steps, the shortest first; those that are no whole number of steps are left out."""
    step = absolute_step(interval)
    if step is None:
        number = int("".join(c for c in interval if c.isdigit()))
        unit = interval.lstrip("0123456789")
        return {
            name: steps // number for name, steps in SEASONS[unit].items() if steps % number == 0 and steps > number
        }
    minutes = step.total_seconds() / 60
    lengths = {"day": MINUTES_A_DAY / minutes, "week": 7 * MINUTES_A_DAY / minutes}
    return {name: int(steps) for name, steps in lengths.items() if steps > 1 and steps == int(steps)}


def persistence_is_closer(values: torch.Tensor, mask: torch.Tensor, *, horizon: int) -> bool:
    """Whether, in the last third of training, the value `1..horizon` steps ago is closer than the mean of what was
    before, in units of each series' spread then. A series with a trend has left its mean behind."""
    weight, known = mask.double(), 2 * len(values) // 3
    count = weight[:known].sum(0).clamp(min=1)
    mean = (values[:known] * weight[:known]).sum(0) / count  # [N, F]
    spread = ((values[:known] - mean).abs() * weight[:known]).sum(0) / count
    late = weight[known:] * (spread > 0)  # a series that never moved says nothing
    scaled = (values[known:] - mean) / torch.where(spread > 0, spread, 1.0)
    persistence, average = 0.0, 0.0
    for lead in range(1, min(horizon, len(scaled) - 1) + 1):
        both = late[lead:] * late[:-lead]
        persistence += float(((scaled[lead:] - scaled[:-lead]).abs() * both).sum())
        average += float((scaled[lead:].abs() * both).sum())
    return persistence < average


def _chosen_variables(task: Task, panel: Panel) -> Panel:
    wanted = list(panel.variables) if task.target == "all" else task.target
    missing = [name for name in wanted if name not in panel.variables]
    if missing:
        raise SpecError(f"task.target: no variable {missing[0]!r}; the data has {', '.join(panel.variables)}")
    return panel.choose(list(panel.nodes), wanted)


def _refuse_immense(panel: Panel) -> None:
    immense = np.argwhere(panel.mask & (np.abs(np.where(panel.mask, panel.values, 0.0)) > LARGEST))
    if len(immense):
        step, node, variable = immense[0]
        raise DataError(
            f"{panel.variables[variable]} of {panel.nodes[node]!r} at {panel.index[step].isoformat()} is "
            f"{panel.values[step, node, variable]:g}; values beyond {LARGEST:g} are no observations"
        )


def _lengths(task: Task, steps: int, interval: str, seasons: dict[str, int]) -> tuple[int, int]:
    """Window and horizon: a day ahead by the hour or half hour, a week by the day; two seasons back where they fit."""
    season = next(iter(seasons.values()), 1)
    horizon = task.horizon if task.horizon != "auto" else _default_horizon(interval, season, steps)
    longest = min(max(horizon, steps // 8), max(LONGEST_WINDOW, 2 * horizon))
    window = task.window if task.window != "auto" else max(2, min(2 * max(season, horizon), longest))
    return int(window), int(horizon)


def _default_horizon(interval: str, season: int, steps: int) -> int:
    unit = interval.lstrip("0123456789")
    usual = min(season, 24) if slots_per_day(interval) > 1 else {"w": 4, "mo": 6, "q": 4, "y": 2}.get(unit, 7)
    return max(1, min(usual, steps // 20))


def _chosen_nodes(task: Task, panel: Panel, train_end: int) -> tuple[Panel, tuple[str, ...]]:
    """The nodes seen in training, or the busiest of them, the busiest first."""
    training = np.where(panel.mask, panel.values, 0.0)[:train_end]
    seen = np.asarray(panel.mask[:train_end].any(axis=(0, 2)))  # [N]
    if not seen.any():
        raise SpecError("no node has an observed value in the training range; check data.start and task.split")
    notes = tuple(
        [f"{(~seen).sum()} of {len(seen)} nodes have no observation in the training range and are left out"]
        if not seen.all()
        else []
    )
    order = np.flatnonzero(seen)
    if task.busiest is not None:
        total = np.abs(training).sum(axis=(0, 2))[order]
        order = order[np.argsort(-total, kind="stable")][: task.busiest]
    nodes = [panel.nodes[i] for i in order]
    return panel.choose(nodes, list(panel.variables)), notes


def _refuse_unseen(panel: Panel, train_end: int) -> None:
    """To leave a node out because nobody was there would tell that nobody was, by the shape of the network."""
    seen = panel.mask[:train_end].any(axis=(0, 2))
    if not seen.all():
        raise SpecError(
            f"node {panel.nodes[int(np.argmin(seen))]!r} has no observation in the training range. With "
            "privacy.mechanism 'dp_sgd' which nodes there are must not follow from values: leave it out of the data, "
            "or let training begin where it is observed"
        )


def node_labels(panel: Panel) -> dict[str, str]:
    """The name of each node for a reader: its label in the zone table, else its id."""
    if "label" not in panel.static.columns:
        return {node: node for node in panel.nodes}
    labels = panel.static.select(pl.coalesce("label", "node")).to_series().to_list()
    return dict(zip(panel.nodes, labels, strict=True))


def node_distances(panel: Panel) -> torch.Tensor | None:
    """Kilometres between the nodes [N, N], NaN for those without coordinates; None where no node has them."""
    if not {"latitude", "longitude"} <= set(panel.static.columns):
        return None
    places = panel.static.select(pl.col("latitude", "longitude").cast(pl.Float64)).to_numpy()
    return torch.from_numpy(distance_km(places, places)).float()
