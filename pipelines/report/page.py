"""Put the report together: figures, findings and facts into one page."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl

from data.dataset import DataSet
from data.splits import Ranges, cut_ranges
from pipelines.privacy.claim import Protection
from pipelines.privacy.utility import Point
from pipelines.report import comparison as against
from pipelines.report import figures, findings, maps, words
from pipelines.report.browse import Browse, browse
from pipelines.report.figures import Figure
from pipelines.report.flow_matrix import flow_figures
from pipelines.report.network import NetworkCourse, edges_of_flows, network_course
from pipelines.report.network_figures import network_figures
from pipelines.report.privacy import Private, private_section
from pipelines.report.relations import relation_figures, relation_rows
from pipelines.report.shell import account_of, footer, render, write_page
from pipelines.report.weights import of_weights, weight_figure
from pipelines.results import Backtest, Explanation, Forecast, History, Registered, WeightCourse
from pipelines.spec import Spec


@dataclass(frozen=True)
class Network:
    """A network over time, and the ranges in which a model was fitted, chosen and tested."""

    edges: pl.DataFrame  # step, source, target, weight
    course: NetworkCourse
    ranges: Ranges


@dataclass(frozen=True)
class Run:
    """What a run hands over, and what several parts of the page need of it."""

    spec: Spec
    dataset: DataSet
    backtest: Backtest
    forecast: Forecast
    history: History
    registered: Registered | None
    compared: against.Comparison
    labels: dict[str, str]  # node -> how the page calls it
    links: pl.DataFrame | None  # flows summed over time, None where there are none
    network: Network | None  # the flows as a network at each step, None where there are none
    explanation: Explanation | None  # None for a model without a learned graph
    weights: WeightCourse | None  # None for a model whose weights stay as they are
    private: Private | None  # None for a model of which nothing is promised


def write_report(
    *,
    spec: Spec,
    dataset: DataSet,
    backtest: Backtest,
    forecast: Forecast,
    history: History,
    registered: Registered | None,
    path: Path,
    explanation: Explanation | None = None,
    weights: WeightCourse | None = None,
    protection: Protection | None = None,
    points: Sequence[Point] = (),
) -> Path:
    """Write the report of a run to `path`, whole or not at all. Of a private model that is `protection`, with `points`
    of versions to compare, the card is looked for beside the page.

    Raises StoreError if the file can't be written.
    """
    labels = words.node_labels(dataset.panel.static)
    run = Run(
        spec=spec,
        dataset=dataset,
        backtest=backtest,
        forecast=forecast,
        history=history,
        registered=registered,
        compared=against.compare(backtest),
        labels=labels,
        links=maps.link_totals(dataset.links) if dataset.links is not None else None,
        network=_network(spec, dataset),
        explanation=explanation,
        weights=weights,
        private=private_section(protection, dataset.manifest.release, backtest, labels=labels, points=points),
    )
    return write_page(_render(run), path)


def _network(spec: Spec, dataset: DataSet) -> Network | None:
    if dataset.links is None:
        return None
    index, split = dataset.panel.index, spec.task.split
    edges = edges_of_flows(dataset.links, index)
    if edges.is_empty():
        return None
    ranges = cut_ranges(len(index), validation=split.validation, test=split.test, window=1, horizon=1)
    return Network(edges, network_course(edges, index), ranges)


def _render(run: Run) -> str:
    browsed = browse(run.dataset, run.backtest, run.forecast, run.compared, run.labels)
    return render(
        "report/page.html",
        _figures(run),
        browsed.content,
        **_opening(run),
        **_findings(run, browsed),
        **_facts(run.dataset, run.backtest),
        browse=browsed,
        rows=against.table(run.backtest, run.compared),
        metrics=against.metrics_of(run.backtest),
        are_flows=run.backtest.are_flows,
        relations=relation_rows(run.explanation) if run.explanation else [],
        private=run.private,
        footer=footer(run.dataset.manifest, run.registered, seed=run.spec.training.seed, digest=run.spec.digest()),
    )


def _figures(run: Run) -> dict[str, Figure]:
    """Those that have something to show: no line over a single lead time, no map without coordinates."""
    backtest, rejected = run.backtest, run.dataset.manifest.rejected
    places = maps.coordinates(run.dataset.panel)
    drawn = [
        figures.horizon_figure(backtest) if backtest.truth.shape[1] > 1 else None,
        figures.node_figure(backtest, run.compared, run.labels) if len(backtest.nodes) > 1 else None,
        maps.error_map(backtest, run.compared, places, run.labels),
        figures.calibration_figure(backtest),
        maps.flow_figure(run.links, places, run.labels) if run.links is not None and len(run.links) else None,
        *(flow_figures(_by_zones(backtest), places, run.labels) if backtest.are_flows else []),
        *(_network_figures(run.network, places, run.labels) if run.network else []),
        *(relation_figures(run.explanation) if run.explanation else []),
        *(run.private.figures if run.private else []),
        figures.rejection_figure({reason: n for reason, n in rejected.items() if n})
        if any(rejected.values())
        else None,
        figures.observed_figure(run.dataset.panel),
        figures.training_figure(run.history) if run.history.has_losses else None,
        weight_figure(run.weights.norms, run.weights.names) if run.weights else None,
    ]
    return {figure.name: figure for figure in drawn if figure is not None}


def _by_zones(backtest: Backtest) -> Backtest:
    """Of a backtest of flows, the targets by the names of their zones."""
    return replace(backtest, variables=backtest.nodes)


def _network_figures(network: Network, places: dict[str, maps.Place], labels: dict[str, str]) -> list[Figure]:
    return network_figures(network.course, network.edges, network.ranges, places, labels)


def _opening(run: Run) -> dict[str, Any]:
    return {
        "name": run.spec.name,
        "description": run.spec.description.rstrip("."),
        "data_version": run.dataset.manifest.version,
        "model": words.model_title(run.backtest.model),
        "registered": run.registered,
        "verdict": against.verdict(run.compared),
        "standing": run.compared.standing,
        "rival": words.model_title(run.compared.rival) if run.compared.rival else None,
        "tiles": findings.tiles(run.dataset, run.backtest, run.compared),
        "protocol": run.backtest.protocol,
        "level": words.percent(run.backtest.intervals[run.backtest.served].level),
    }


def _findings(run: Run, browsed: Browse) -> dict[str, str]:
    """A sentence for each section; the template asks for those whose figures were drawn."""
    backtest, several = run.backtest, len(run.backtest.nodes) > 1
    return {
        "of_forecast": findings.of_forecast(
            backtest, run.forecast, run.registered, cutoffs=browsed.cutoffs, nodes=len(browsed.nodes)
        ),
        "of_horizon": findings.of_horizon(backtest),
        "of_nodes": findings.of_nodes(backtest, run.compared, run.labels) if several else "",
        "of_calibration": findings.of_calibration(backtest),
        "of_flows": findings.of_flows(run.links, run.labels) if run.links is not None and len(run.links) else "",
        "of_pairs": findings.of_flow_forecast(_by_zones(backtest), run.labels) if backtest.are_flows else "",
        "of_network": findings.of_network(run.network.course, run.network.ranges) if run.network else "",
        "of_relations": findings.of_relations(run.explanation) if run.explanation else "",
        "of_data": findings.of_data(run.dataset.manifest),
        "of_training": findings.of_training(run.history),
        "of_weights": of_weights(run.weights.norms, run.weights.names) if run.weights else "",
    }


def _facts(dataset: DataSet, backtest: Backtest) -> dict[str, Any]:
    manifest = dataset.manifest
    return {
        "account": account_of(manifest),
        "manifest": manifest,
        "span": " to ".join(words.moment(end) for end in manifest.span),
        "step": words.lead(1, manifest.interval),
        "steps": len(dataset.panel.index),
        "forecast": "all" if len(backtest.nodes) == manifest.nodes else f"{len(backtest.nodes):,}",
        "quarantine": Path(manifest.quarantine).name if manifest.quarantine else None,
    }
