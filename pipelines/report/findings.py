"""What each part of the report found, in a sentence, and the four numbers under the headline."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from data.dataset import DataSet, Manifest
from data.snapshot_store import SnapshotManifest
from data.splits import Ranges
from pipelines.privacy.claim import WHOM, rounded_up
from pipelines.privacy.told import claim_of
from pipelines.report.comparison import Comparison, error_by_horizon, error_by_node
from pipelines.report.figures import INTERVAL_METHODS
from pipelines.report.flow_matrix import pair_means, pair_text, pairs
from pipelines.report.network import MEASURES, NetworkCourse, apart
from pipelines.report.network_figures import has_drift, steps_of
from pipelines.report.relations import between, strongest
from pipelines.report.words import lead, model_title, moment, number, percent, plural, shorten, signed
from pipelines.results import Backtest, Explanation, Forecast, History, Intervals, Registered

GOOD_COVERAGE = 0.03  # points to either side of the nominal level
LITTLE = 0.05  # a change in error below this is none


@dataclass(frozen=True)
class Tile:
    """`mood` is "good", "bad" or "plain"."""

    title: str
    value: str
    note: str
    mood: str = "plain"


def tiles(dataset: DataSet, backtest: Backtest, comparison: Comparison) -> list[Tile]:
    horizon, manifest = backtest.truth.shape[1], dataset.manifest
    served = backtest.intervals[backtest.served]
    holds = abs(served.coverage - served.level) <= GOOD_COVERAGE
    ahead = lead(horizon, backtest.interval)
    return [
        Tile(
            "Mean absolute error",
            number(comparison.mae),
            f"per {'pair' if backtest.are_flows else 'node'} and step, {'up to ' if horizon > 1 else ''}{ahead} ahead",
        ),
        _rival_tile(comparison),
        Tile(
            "Truth inside the interval",
            percent(served.coverage),
            f"of the observed test values; the aim is {percent(served.level)}",
            "plain" if holds else "bad",
        ),
        _data_tile(manifest),
    ]


def _data_tile(manifest: Manifest) -> Tile:
    claim = claim_of(manifest)
    if claim is not None:
        whom = f"protects {WHOM[claim.unit]}" + (f" over {claim.span}" if claim.span else "")
        return Tile("Privacy", f"ε = {rounded_up(claim.epsilon)}", f"{whom}, δ = {claim.delta:.3g}; {claim.accountant}")
    used = percent(manifest.rows_used / max(manifest.rows_read, 1))
    return Tile("Data used", used, f"{manifest.rows_used:,} of {manifest.rows_read:,} rows of the source")


def _rival_tile(comparison: Comparison) -> Tile:
    if comparison.rival is None:
        return Tile("Against yardsticks", "–", "none was run")
    note = f"than {model_title(comparison.rival)}, the best yardstick ({number(comparison.rival_mae)})"
    match comparison.standing:
        case "ties":
            return Tile("Error against yardsticks", "equal", f"to {note.removeprefix('than ')}")
        case "wins":
            return Tile("Error against yardsticks", f"−{percent(comparison.gain)}", f"lower {note}", "good")
        case _:
            return Tile("Error against yardsticks", f"+{percent(-comparison.gain)}", f"higher {note}", "bad")


def of_forecast(
    backtest: Backtest, forecast: Forecast, registered: Registered | None, *, cutoffs: int, nodes: int
) -> str:
    """`cutoffs` and `nodes` say how much of the backtest the page holds."""
    total, all_nodes = len(backtest.cutoffs), len(backtest.nodes)
    part = f"the newest {cutoffs:,} of {plural(total, 'forecast')}" if cutoffs < total else plural(total, "forecast")
    who = f" for the {nodes} busiest of {all_nodes} nodes" if nodes < all_nodes else ""
    by = ""
    if registered and forecast.version != registered.version:
        by = f", made by the champion: {model_title(forecast.model)}, version {forecast.version}"
    return (
        f"The test range shows {part}{who}, each made without a look at what came after; "
        f"then the data end ({moment(forecast.cutoff.isoformat())}) and the newest forecast begins{by}."
    )


def of_horizon(backtest: Backtest) -> str:
    errors = {model: error_by_horizon(backtest, model) for model in backtest.forecasts}
    ours = errors[backtest.model]
    seen = np.flatnonzero(np.isfinite(ours))
    course = _course(ours, int(seen[0]), int(seen[-1]), backtest.interval)
    if len(errors) == 1:
        return course
    least = np.min([e[seen] for model, e in errors.items() if model != backtest.model], axis=0)
    best = _of(int(np.sum(ours[seen] < least)), len(seen), "lead time")
    return f"{course} {model_title(backtest.model)} is the best model at {best}."


def _course(errors: np.ndarray, first: int, last: int, interval: str) -> str:
    start, end = float(errors[first]), float(errors[last])
    ends = f"{number(start)} at {lead(first + 1, interval)} ahead", f"{number(end)} at {lead(last + 1, interval)}"
    if abs(end - start) <= LITTLE * start:
        return f"The error hardly depends on the lead time: {ends[0]}, {ends[1]}."
    return f"The error {'grows' if end > start else 'falls'} from {ends[0]} to {ends[1]}."


def of_nodes(backtest: Backtest, comparison: Comparison, labels: dict[str, str]) -> str:
    ours = error_by_node(backtest, backtest.model)
    known = np.flatnonzero(~np.isnan(ours))
    if comparison.rival is None:
        worst = shorten(labels[backtest.nodes[known[np.argmax(ours[known])]]], 40)
        return f"The error is largest at {worst}: {number(float(np.nanmax(ours)))}."
    better = int(np.sum(ours[known] < error_by_node(backtest, comparison.rival)[known]))
    half = int(np.searchsorted(np.cumsum(np.sort(ours[known])[::-1]), ours[known].sum() / 2)) + 1
    share = f" Half of all error comes from {plural(half, 'node')}." if len(known) > 3 else ""
    ours_title, rival = model_title(backtest.model), model_title(comparison.rival)
    return f"{ours_title} beats {rival} at {_of(better, len(known), 'node')}.{share}"


def _of(count: int, total: int, noun: str) -> str:
    if total == 1:
        return f"the only {noun}" if count else f"no {noun} of one"
    few = {0: f"none of the {total} {noun}s", total: f"all {total} {noun}s"}
    return few.get(count, f"{count} of {total} {noun}s")


def of_calibration(backtest: Backtest) -> str:
    order = sorted(backtest.intervals.values(), key=lambda found: found.method != backtest.served)
    return " ".join(_coverage(found, served=found.method == backtest.served) for found in order)


def _coverage(found: Intervals, *, served: bool) -> str:
    off = found.coverage - found.level
    judgement = (
        ""
        if abs(off) <= GOOD_COVERAGE
        else ", so they are too narrow"
        if off < 0
        else ", so they are wider than they need be"
    )
    name = INTERVAL_METHODS.get(found.method, found.method)
    who = f"The {percent(found.level)} intervals that are served ({name})" if served else f"Those of {name}"
    held = f"{percent(found.coverage)} of the observed values at a mean width of {number(found.mean_width)}"
    return f"{who} held {held}{judgement}."


def of_flows(links: pl.DataFrame, labels: dict[str, str]) -> str:
    total = float(links["weight"].sum())
    within = float(links.filter(pl.col("source") == pl.col("target"))["weight"].sum())
    between = links.filter(pl.col("source") != pl.col("target")).head(1)
    heaviest = [
        f" The heaviest link between two nodes is {shorten(labels.get(a, a), 40)} to {shorten(labels.get(b, b), 40)}, "
        f"with {number(weight)}."
        for a, b, weight in between.iter_rows()
    ]
    return f"{number(total)} in the whole span, {percent(within / total)} of it within a node.{''.join(heaviest)}"


def of_flow_forecast(backtest: Backtest, labels: dict[str, str]) -> str:
    """Of a backtest whose nodes are sources and whose variables are targets."""
    found = pairs(pair_means(backtest))
    if not found:
        return "No flow was observed in the test range, and none was forecast."
    real, forecast = (sum(sizes) for sizes in zip(*((pair.real, pair.forecast) for pair in found), strict=True))
    most = max(found, key=lambda pair: abs(pair.forecast - pair.real))
    total = f"{number(forecast)} in a step on average were forecast and {number(real)} were real"
    change = f", {'+' if forecast >= real else '−'}{percent(abs(forecast / real - 1))}" if real > 0 else ""
    return f"Over all pairs {total}{change}. The mean forecast is furthest off for {pair_text(most, labels)}."


def of_network(course: NetworkCourse, ranges: Ranges) -> str:
    """What training and test have in a step, and how far the nodes have drifted from one to the other."""
    (_, fitted), (tested, end) = (steps_of(ranges)[name] for name in ("training", "test"))
    counts = course.steps.select("nodes", "edges").to_numpy()
    before, after = counts[:fitted].mean(axis=0), counts[tested:end].mean(axis=0)
    size = (
        f"A step has {number(before[0])} nodes with an edge and {number(before[1])} edges on average in training, "
        f"{number(after[0])} and {number(after[1])} in test."
    )
    if not has_drift(course, ranges):
        return f"{size} With no edge in one of the two, there is no drift to measure."
    drift = [_drift(course, measure, fitted, (tested, end)) for measure in MEASURES]
    return f"{size} Such a node's {drift[0]}; its {drift[1]}."


def _drift(course: NetworkCourse, measure: str, fitted: int, tested: tuple[int, int]) -> str:
    before, after = course.within(measure, 0, fitted), course.within(measure, *tested)
    ratio, gap = float(after.mean() / before.mean()), apart(before, after)
    judgement = "hardly drifts" if gap <= LITTLE and abs(ratio - 1) <= LITTLE else "drifts"
    means = [number(float(values.mean())) for values in (before, after)]
    change = f"{'+' if ratio >= 1 else '−'}{percent(abs(ratio - 1))}"
    return (
        f"{measure} {judgement}, from {means[0]} in training to {means[1]} in test on average ({change}), "
        f"with the two distributions at most {100 * gap:.1f} points apart"
    )


def of_relations(explanation: Explanation) -> str:
    found = strongest(explanation, 1)
    if not found:
        return "The network relates no variable to another."
    taker, read = (shorten(explanation.variables[v], 40) for v in (found[0].variable, found[0].reads))
    sizes = np.abs(between(explanation))
    usual = float(np.nanmedian(sizes))
    times = f", {number(abs(found[0].weight) / usual)} times the median" if usual > 0 else ""
    return (
        f"The strongest relation of all {np.count_nonzero(~np.isnan(sizes)):,} pairs: {taker} takes "
        f"{signed([found[0].weight])[0]} of {read} through both layers{times}. "
        "A relation is what this network uses to forecast, not a cause."
    )


def of_data(manifest: Manifest) -> str:
    return f"{of_rows(manifest)} {percent(manifest.observed_share)} of all values on the clock were observed."


def of_rows(manifest: Manifest | SnapshotManifest) -> str:
    claim = claim_of(manifest)
    if claim is not None:
        return (
            f"The counts were released once, with noise. {claim.sentence}. How many rows there were, and what was "
            "wrong with some, is not told: it would follow from rows of people."
        )
    rejected = sum(manifest.rejected.values())
    if rejected == 0:
        return f"All {manifest.rows_read:,} rows of the source were used."
    share = percent(rejected / manifest.rows_read)
    return (
        f"{rejected:,} of {manifest.rows_read:,} rows ({share}) were rejected, "
        "each under a named reason; the rest was used."
    )


def of_training(history: History) -> str:
    seconds = float(history.epochs["seconds"].sum())
    took = f"{seconds / 60:.1f} minutes" if seconds >= 90 else f"{seconds:.0f} seconds"
    course = f"{plural(history.parameters, 'parameter')}, trained for {took} on {history.device}. "
    if not history.has_losses:
        return f"{course}The weights are those of the last private step."
    return (
        f"{course}The weights are those of epoch {history.best_epoch + 1}; training ended with epoch "
        f"{len(history.epochs)}."
    )
