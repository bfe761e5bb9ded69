"""The two kinds of experiment, of series and of dynamic graphs, and the steps of each: the one place that tells them
apart.

A step is called in the same way whatever the kind; what it gives is for the other steps of that kind.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.dataset import DataSet, Manifest
from data.snapshot_store import SnapshotManifest, SnapshotSet
from pipelines import experiment, ingest
from pipelines.errors import SpecError
from pipelines.graph_task import experiment as graph_experiment
from pipelines.graph_task import ingest as graph_ingest
from pipelines.graph_task.evaluate import GraphBacktest
from pipelines.graph_task.predict import GraphForecast
from pipelines.graph_task.report import write_report
from pipelines.graph_task.spec import GraphSpec
from pipelines.graph_task.tables import graph_table, ordered
from pipelines.privacy.release.quote import quote
from pipelines.results import Backtest, Forecast, Registered
from pipelines.spec import Spec
from pipelines.tables import score_table

AnySpec = Spec | GraphSpec
AnyData = DataSet | SnapshotSet
AnyManifest = Manifest | SnapshotManifest
AnyTrained = experiment.Trained | graph_experiment.Trained
AnyBacktest = Backtest | GraphBacktest
AnyForecast = Forecast | GraphForecast


@dataclass(frozen=True)
class Steps:
    """One kind's steps. `data` is what `ingest` gives, `trained` what `train` gives."""

    ingest: Callable[..., tuple[Any, bool]]  # (spec, *, fresh, say) -> data, and whether it was re-used
    describe: Callable[[Any], str]  # (data.manifest)
    quote: Callable[[Any], str | None]  # (spec): what ingesting would spend, None where that is nothing
    outlook: Callable[[Any, Any], str]  # (spec, data)
    train: Callable[..., Any]  # (spec, data, *, say)
    table: Callable[[Any], str]  # (trained)
    enrol: Callable[..., tuple[Registered, bool]]  # (spec, data, trained, *, say)
    check_forecast: Callable[[dict[str, Any]], None]  # raises SpecError for what this kind's forecast can't be asked
    forecast: Callable[..., Any]  # (spec, data, ...)
    report: Callable[..., Path]  # (spec, data, trained, registered, forecast, path)
    output_folder: Callable[[Any, Any], Path]  # (spec, data)


def steps_of(spec: AnySpec) -> Steps:
    return GRAPHS if isinstance(spec, GraphSpec) else SERIES


def figures_of(result: AnyBacktest) -> dict[str, dict[str, float]]:
    """Model -> metric -> value, the best model first."""
    if isinstance(result, GraphBacktest):
        return {model: {name: result.score(model, name) for name in result.metrics} for model in ordered(result)}
    order = sorted(result.forecasts, key=lambda model: result.total(model, "mae"))
    return {model: {name: result.total(model, name) for name in ("mae", "rmse", "mase")} for model in order}


def _nothing_asked(asked: dict[str, Any]) -> None:
    if asked:
        raise SpecError(
            f"{', '.join(asked)}: the forecast of a graph is of the next step and of all nodes; leave the option out"
        )


SERIES = Steps(
    ingest=ingest.ingest_or_reuse,
    describe=ingest.describe,
    quote=quote,
    outlook=experiment.outlook,
    train=experiment.train,
    table=lambda trained: score_table(trained.evaluated.backtest),
    enrol=experiment.enrol,
    check_forecast=lambda asked: None,
    forecast=experiment.forecast,
    report=experiment.report,
    output_folder=experiment.output_folder,
)
GRAPHS = Steps(
    ingest=graph_ingest.ingest_or_reuse,
    describe=graph_ingest.describe,
    quote=lambda spec: None,
    outlook=graph_experiment.outlook,
    train=graph_experiment.train,
    table=lambda trained: graph_table(trained.evaluated.backtest),
    enrol=graph_experiment.enrol,
    check_forecast=_nothing_asked,
    forecast=graph_experiment.forecast,
    report=write_report,
    output_folder=graph_experiment.output_folder,
)
