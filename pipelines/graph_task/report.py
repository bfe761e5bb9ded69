"""A plain page about a run on a dynamic graph: the figures beside the yardsticks, how they came about, the forecast."""

import html
from collections.abc import Iterable, Sequence
from pathlib import Path

import polars as pl

from data.snapshot_store import SnapshotSet
from pipelines.checkpoint import write_whole
from pipelines.graph_task.evaluate import GraphBacktest
from pipelines.graph_task.experiment import Trained
from pipelines.graph_task.predict import GraphForecast
from pipelines.graph_task.spec import GraphSpec
from pipelines.graph_task.tables import ordered
from pipelines.register import attach_report
from pipelines.results import Registered

SHOWN = 20  # rows of the forecast
STYLE = "body{font:16px system-ui;max-width:60rem;margin:2rem auto}td,th{padding:.2rem .8rem;text-align:right}"


def write_report(
    spec: GraphSpec,
    dataset: SnapshotSet,
    trained: Trained,
    registered: Registered,
    found: GraphForecast,
    path: Path,
) -> Path:
    """Write the page, and put a copy beside the MLflow run."""
    text = page(spec, dataset, trained, registered, found)

    def write(file: Path) -> None:
        file.write_text(text, encoding="utf-8")

    write_whole(path, write)
    attach_report(registered, path)
    return path


def page(spec: GraphSpec, dataset: SnapshotSet, trained: Trained, registered: Registered, found: GraphForecast) -> str:
    result, manifest = trained.evaluated.backtest, dataset.manifest
    parts = [
        f"<h1>{html.escape(spec.name)}</h1><p>{html.escape(spec.description)}</p>",
        f"<p><b>{html.escape(headline(result))}</b></p>",
        _table(result.scores.columns, _figures(result)),
        f"<p>{html.escape(result.protocol)}</p>",
        f"<p>{html.escape(registered.name)} version {registered.version}: {html.escape(registered.reason)}</p>",
        "<h2>Training</h2>",
        _table(*_cells(trained.evaluated.fitted.history.epochs)),
        f"<h2>Forecast from {html.escape(found.known_until)}, the first {min(SHOWN, len(found.frame))} rows</h2>",
        _table(*_cells(found.frame.head(SHOWN))),
        f"<p>Data: {manifest.rows_used:,} of {manifest.rows_read:,} rows; {html.escape(manifest.origin)}; "
        f"{html.escape(manifest.licence)}</p>",
    ]
    head = f'<meta charset="utf-8"><title>{html.escape(spec.name)}</title><style>{STYLE}</style>'
    return f"<!doctype html><html lang=en><head>{head}</head><body>{''.join(parts)}</body></html>"


def headline(result: GraphBacktest) -> str:
    """Whether ours is ahead of every yardstick, by the first metric."""
    metric, best = result.metrics[0], ordered(result)
    ours = result.score(result.model, metric)
    if best[0] == result.model:
        rest = f", ahead of {best[1]} at {result.score(best[1], metric):.4f}" if len(best) > 1 else ""
        return f"{result.model} reaches {metric} {ours:.4f}{rest}."
    return f"{best[0]} is better: {metric} {result.score(best[0], metric):.4f} against {ours:.4f} of {result.model}."


def _figures(result: GraphBacktest) -> list[list[str]]:
    columns = result.scores.columns[1:]
    return [[model, *(f"{result.score(model, name):.4f}" for name in columns)] for model in ordered(result)]


def _cells(frame: pl.DataFrame) -> tuple[Sequence[str], list[list[str]]]:
    rows = [[f"{cell:.4g}" if isinstance(cell, float) else str(cell) for cell in row] for row in frame.iter_rows()]
    return frame.columns, rows


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{html.escape(name)}</th>" for name in columns)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"
