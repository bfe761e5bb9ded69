"""Put the report of a dynamic graph together: figures, findings and facts into one page."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from data.snapshot_store import SnapshotSet
from data.splits import Ranges
from pipelines.graph_task.evaluate import GraphBacktest
from pipelines.graph_task.experiment import Trained
from pipelines.graph_task.predict import GraphForecast
from pipelines.graph_task.prepare import Prepared
from pipelines.graph_task.report import findings
from pipelines.graph_task.report.comparison import METRICS, GraphComparison, compare, duel, headline, rows
from pipelines.graph_task.report.drawing import Drawing, drawing, drawn_figure
from pipelines.graph_task.report.growth import Growth, growth, growth_figure, of_growth
from pipelines.graph_task.report.listing import listings
from pipelines.graph_task.report.score_figures import scores_figure, steps_figure, training_figure
from pipelines.graph_task.spec import GraphSpec
from pipelines.graph_task.weights import weight_course
from pipelines.register import attach_report
from pipelines.report.figures import Figure, rejection_figure
from pipelines.report.findings import of_network, of_rows, of_training
from pipelines.report.network import NetworkCourse, edges_of_snapshots, network_course
from pipelines.report.network_figures import course_figure, drift_figure, has_drift
from pipelines.report.shell import account_of, footer, render, write_page
from pipelines.report.weights import of_weights, weight_figure
from pipelines.report.words import model_title
from pipelines.results import History, Registered, WeightCourse


@dataclass(frozen=True)
class Network:
    """The network over time, and what several parts of the page need of it."""

    course: NetworkCourse
    growth: Growth
    drawing: Drawing | None
    ranges: Ranges


@dataclass(frozen=True)
class Run:
    """What a run hands over, and what follows from it."""

    dataset: SnapshotSet
    result: GraphBacktest
    history: History
    compared: GraphComparison
    network: Network
    weights: WeightCourse | None  # None for a model whose weights stay as they are


def write_report(
    spec: GraphSpec,
    dataset: SnapshotSet,
    trained: Trained,
    registered: Registered,
    found: GraphForecast,
    path: Path,
) -> Path:
    """Write the page, and put a copy beside the MLflow run. Raises StoreError if the file can't be written."""
    write_page(page(spec, dataset, trained, registered, found), path)
    attach_report(registered, path)
    return path


def page(spec: GraphSpec, dataset: SnapshotSet, trained: Trained, registered: Registered, found: GraphForecast) -> str:
    prepared, evaluated = trained.prepared, trained.evaluated
    fitted, result = evaluated.fitted, evaluated.backtest
    run = Run(
        dataset=dataset,
        result=result,
        history=fitted.history,
        compared=compare(result),
        network=network_of(prepared),
        weights=weight_course(prepared, spec.model, fitted.network),
    )
    return render(
        "graph_task/report/page.html",
        _figures(run),
        **_opening(spec, run, registered),
        **_findings(run, prepared, found),
        **_facts(run),
        rows=rows(result),
        metrics={metric: METRICS[metric] for metric in result.scores.columns[1:]},
        listings=listings(prepared, spec.model, fitted.network, found),
        is_about_links=prepared.is_about_links,
        private=None,  # no model of a graph is private
        footer=footer(dataset.manifest, registered, seed=spec.training.seed, digest=spec.digest()),
    )


def network_of(prepared: Prepared) -> Network:
    """A step belongs to the range for which it is a target."""
    snapshots, samples, ahead = prepared.snapshots, prepared.ranges, prepared.ahead
    ranges = Ranges(samples.train_end + ahead, samples.validation_end + ahead, samples.end + ahead)
    edges: pl.DataFrame = edges_of_snapshots(snapshots)
    return Network(
        network_course(edges, snapshots.clock),
        growth(edges, len(snapshots)),
        drawing(edges, snapshots, ranges, prepared.task.window),
        ranges,
    )


def _figures(run: Run) -> dict[str, Figure]:
    """Those that have something to show."""
    network, rejected = run.network, {reason: n for reason, n in run.dataset.manifest.rejected.items() if n}
    clock = run.dataset.snapshots.clock
    drawn = [
        scores_figure(run.result),
        steps_figure(run.result, run.compared, clock),
        course_figure(network.course, network.ranges),
        growth_figure(network.growth, network.course, network.ranges),
        drift_figure(network.course, network.ranges) if has_drift(network.course, network.ranges) else None,
        drawn_figure(network.drawing) if network.drawing else None,
        training_figure(run.history, run.result.metrics[0]),
        weight_figure(run.weights.norms, run.weights.names) if run.weights else None,
        rejection_figure(rejected) if rejected else None,
    ]
    return {figure.name: figure for figure in drawn if figure is not None}


def _opening(spec: GraphSpec, run: Run, registered: Registered) -> dict[str, Any]:
    return {
        "name": spec.name,
        "description": spec.description.rstrip("."),
        "data_version": run.dataset.manifest.version,
        "model": model_title(run.result.model),
        "registered": registered,
        "verdict": headline(run.result),
        "standing": run.compared.standing,
        "tiles": findings.tiles(run.compared, duel(run.result, run.compared), run.dataset.manifest),
        "protocol": run.result.protocol,
    }


def _findings(run: Run, prepared: Prepared, found: GraphForecast) -> dict[str, Any]:
    """A sentence for each section."""
    network, manifest = run.network, run.dataset.manifest
    of_ahead = findings.of_forecast if prepared.is_about_links else findings.of_told
    return {
        "of_forecast": of_ahead(found.known_until),
        "of_steps": findings.of_steps(run.compared, duel(run.result, run.compared)),
        "how_to_read": findings.best_possible(run.result),
        "of_network": of_network(network.course, network.ranges),
        "of_growth": of_growth(network.growth, network.ranges),
        "of_data": of_rows(manifest),
        "of_training": of_training(run.history),
        "of_weights": of_weights(run.weights.norms, run.weights.names) if run.weights else "",
    }


def _facts(run: Run) -> dict[str, Any]:
    manifest = run.dataset.manifest
    return {
        "account": account_of(manifest),
        "manifest": manifest,
        "span": findings.span_words(manifest),
        "clock": findings.clock_words(manifest),
    }
