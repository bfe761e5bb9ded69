"""The main job in steps: train and judge, register, forecast, report. Ingestion is `pipelines.ingest.ingest`.

Each step looks first whether an equal run has left its result, says so, and re-uses it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import torch

from data.dataset import DataSet
from pipelines.checkpoint import write_whole
from pipelines.device import choose_device, describe_device
from pipelines.errors import RegistryError
from pipelines.evaluate import Evaluated, backtest, describe_series
from pipelines.explain import explain, weight_course
from pipelines.model_card import PAGE, card_of_version, card_page, promise_of
from pipelines.predict import QUANTILES, Predictor
from pipelines.prepare import Prepared, prepare
from pipelines.privacy.access import Access, log_access, user
from pipelines.privacy.claim import Claim
from pipelines.privacy.serving import check_export, mark_of
from pipelines.privacy.spec import TrainingPrivacy
from pipelines.privacy.unprotected import Leave, ask_leave
from pipelines.privacy.utility import Point, judged_on, points
from pipelines.register import attach_report, find_registered, register
from pipelines.registry import champion, client, fetch_forecaster, newest_leaky, require_kind
from pipelines.report import write_report
from pipelines.report.shell import write_page
from pipelines.results import Backtest, Forecast, Registered
from pipelines.settings import runs
from pipelines.spec import Spec
from pipelines.train import new_network

if TYPE_CHECKING:
    from pipelines.graph_task.predict import GraphForecast

Say = Callable[[str], None]


@dataclass(frozen=True)
class Trained:
    """What training hands on to registration and to the report."""

    prepared: Prepared
    evaluated: Evaluated


def output_folder(spec: Spec, dataset: DataSet) -> Path:
    """Where a run leaves its report and its forecast: equal data and settings, equal folder."""
    return runs() / spec.name / f"{dataset.manifest.version}-{spec.digest()}"


def outlook(spec: Spec, dataset: DataSet) -> str:
    """What a run would do, one line a thing."""
    prepared = prepare(spec, dataset)
    shape, index, ranges = prepared.shape, prepared.panel.index, prepared.ranges
    lines = [
        ("model", f"{spec.model.label}: {shape.window} steps of {prepared.panel.interval} in, {shape.horizon} out"),
        ("series", describe_series(prepared)),
        ("observed", f"{prepared.panel.mask.mean():.1%} of the values"),
        ("training", f"{index[0]} to {index[ranges.train_end - 1]}"),
        ("validation", f"to {index[ranges.validation_end - 1]}"),
        ("test", f"to {index[-1]}"),
        *_promise(spec, prepared),
        *(("note", note) for note in prepared.notes),
    ]
    return "\n".join(f"{name:<12}{text}" for name, text in lines)


def _promise(spec: Spec, prepared: Prepared) -> list[tuple[str, str]]:
    """What a private training would cost, at no cost; raises what training would."""
    if not isinstance(spec.privacy, TrainingPrivacy):
        new_network(prepared, spec.model, prepared.ranges.train_end)
        return []
    from pipelines.privacy.ledger.ledger import Ledger
    from pipelines.privacy.private_network import private_network
    from pipelines.privacy.randomness import SystemRandomness
    from pipelines.privacy.remedy import objection
    from pipelines.privacy.training_plan import charge_of, plan_training, words

    private_network(spec, prepared)
    plan = plan_training(spec, prepared, prepared.ranges)
    charge = charge_of(spec, prepared, prepared.ranges, plan, run_id="asked", randomness=SystemRandomness())
    refused = objection(Ledger.open(), charge)
    admitted = f"that of data set {charge.data_set!r} admits it, on every day that it reads"
    return [*words(plan), ("budget", refused or admitted)]


def train(spec: Spec, dataset: DataSet, *, say: Say = print) -> Trained:
    """Fit the model and the yardsticks, and score them in a walk-forward backtest.

    Raises BudgetRefused for a spec without privacy where a budget protects the data.
    """
    prepared = prepare(spec, dataset)
    leave = _leave(spec, dataset)
    for note in prepared.notes:
        say(f"note: {note}")
    torch.set_num_threads(spec.training.threads)
    say(f"device: {describe_device(choose_device(spec.training.device))}")
    evaluated = backtest(spec, prepared, folder=runs() / spec.name, say=say)
    leave.used(evaluated.fitted.key)
    return Trained(prepared, replace(evaluated, is_internal=leave.is_internal))


def _leave(spec: Spec, dataset: DataSet) -> Leave:
    is_private = spec.privacy is not None or dataset.manifest.release is not None
    return Leave() if is_private else ask_leave(spec, dataset.manifest.sources.values())


def enrol(spec: Spec, dataset: DataSet, trained: Trained, *, say: Say = print) -> tuple[Registered, bool]:
    """The registered version of this training, and whether an equal run had registered it before."""
    require_kind(client(spec.registry.tracking_uri), spec.registered_name, is_graph=False)
    known = find_registered(spec, trained.evaluated)
    if known is not None:
        say(f"registry: {known.name} version {known.version} is this very model, re-used ({known.alias})")
        return known, True
    registered = register(spec, dataset, trained.prepared, trained.evaluated)
    say(f"registry: {registered.name} version {registered.version}, {registered.reason}")
    return registered, False


def load_champion(name: str, *, uri: str | None = None) -> tuple[Predictor, str]:
    """The serving version of a registered model. Raises RegistryError where there is none."""
    store = client(uri)
    version = champion(store, name)
    if version is None:
        raise RegistryError(f"{name} has no champion yet; train one with `flockcast run`")
    return Predictor.load(fetch_forecaster(store, version)), str(version.version)


def load_leaky(name: str, *, uri: str | None = None) -> tuple[Predictor, str]:
    """The newest version that has seen its test range, to be looked at. Raises RegistryError where there is none."""
    store = client(uri)
    version = newest_leaky(store, name)
    return Predictor.load(fetch_forecaster(store, version)), str(version.version)


def forecast(
    spec: Spec,
    dataset: DataSet,
    *,
    horizon: int | None = None,
    nodes: Sequence[str] | None = None,
    quantiles: Sequence[float] = QUANTILES,
) -> Forecast:
    """The champion's forecast from the newest steps of the data set.

    A leaky model can't be champion; to be looked at, it is its newest version that forecasts.
    """
    load = load_leaky if spec.model.leaky else load_champion
    predictor, version = load(spec.registered_name, uri=spec.registry.tracking_uri)
    mark = mark_of(
        predictor.protection,
        stored=dataset.manifest,
        sent=False,
        raw_input=False,
        name=spec.registered_name,
        is_internal=predictor.config.is_internal,
    )
    frame = predictor.forecast_panel(
        predictor.stored(dataset), flows=dataset.links, horizon=horizon, nodes=nodes, quantiles=quantiles
    )
    cutoff = pd.Timestamp(dataset.panel.index[-1])
    if mark is not None and not mark.is_exportable:
        log_access(Access(user(), "command", spec.registered_name, version, cutoff.isoformat(), mark.text))
    return Forecast(model=predictor.config.label, version=version, cutoff=cutoff, frame=frame, mark=mark)


def save_forecast(found: "Forecast | GraphForecast", path: Path, *, internal: bool = False) -> Path:
    """As Parquet, whole or not at all, with the mark of a private model in its metadata.

    Raises ServingRefused where it contains raw counts and would leave FLOCKCAST_HOME, unless the file is `internal`.
    """
    mark = found.mark
    check_export(mark, path, internal=internal)
    write_whole(path, lambda file: found.frame.write_parquet(file, metadata=mark.metadata if mark else None))
    return path


def points_beside(registered: Registered, claim: Claim, result: Backtest) -> list[Point]:
    """Every version of the same name that was judged on the same test range, to compare what a promise costs."""
    found = client(registered.tracking_uri).search_model_versions(f"name = '{registered.name}'")
    tagged = [(str(version.version), version.tags) for version in found]
    return points(tagged, claim, test=judged_on(result), ours=registered.version)


def report(spec: Spec, dataset: DataSet, trained: Trained, registered: Registered, found: Forecast, path: Path) -> Path:
    """Write the page to look at, of a private model with its card beside it, and put copies beside the MLflow run."""
    protection = promise_of(registered)
    result = trained.evaluated.backtest
    write_report(
        spec=spec,
        dataset=dataset,
        backtest=result,
        forecast=found,
        history=trained.evaluated.fitted.history,
        registered=registered,
        explanation=explain(trained.prepared, trained.evaluated.fitted),
        weights=weight_course(trained.prepared, trained.evaluated.fitted),
        protection=protection,
        points=points_beside(registered, protection.claim, result) if protection else (),
        path=path,
    )
    attach_report(registered, path)
    if protection is not None:
        card = card_page(card_of_version(f"{registered.name}@{registered.version}", uri=registered.tracking_uri))
        attach_report(registered, write_page(card, path.with_name(PAGE)))
    return path
