"""The main job on a dynamic graph in steps, each of which re-uses what an equal run has left."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from data.snapshot_store import SnapshotSet
from pipelines.errors import RegistryError
from pipelines.graph_task.artefact import load_artefact
from pipelines.graph_task.evaluate import Evaluated, backtest
from pipelines.graph_task.features import feature_width, words
from pipelines.graph_task.predict import GraphForecast, cutoff_of, predict
from pipelines.graph_task.prepare import Prepared, prepare
from pipelines.graph_task.register import find_registered, register
from pipelines.graph_task.spec import GraphSpec
from pipelines.privacy.unprotected import ask_leave
from pipelines.registry import champion, client, fetch_forecaster, require_kind
from pipelines.results import Registered
from pipelines.settings import runs

Say = Callable[[str], None]


@dataclass(frozen=True)
class Trained:
    prepared: Prepared
    evaluated: Evaluated


def output_folder(spec: GraphSpec, dataset: SnapshotSet) -> Path:
    """Where a run leaves its forecast: equal data and settings, equal folder."""
    return runs() / spec.name / f"{dataset.manifest.version}-{spec.digest()}"


def outlook(spec: GraphSpec, dataset: SnapshotSet) -> str:
    """What a run would do, one line a thing. Raises SpecError where it could not."""
    prepared = prepare(spec, dataset)
    ranges, clock = prepared.ranges, prepared.snapshots.clock
    counts = prepared.snapshots.node_counts()
    target = {
        "links": "the links of the step after",
        "edge_labels": "the classes of the edges of its last",
        "node_labels": f"the classes ({', '.join(prepared.classes)}) of the nodes of its last",
    }[prepared.task.kind]
    lines = [
        ("model", f"{spec.model.label}: {prepared.task.window} steps of {spec.data.interval} in, {target} out"),
        ("nodes", f"{prepared.nodes:,} in all, {int(counts.min()):,} to {int(counts.max()):,} a step"),
        ("features", f"{feature_width(spec.model, prepared.schema)} of a node ({words(spec.model, prepared.schema)})"),
        ("training", f"steps {ranges.first} to {ranges.train_end - 1} ({clock[ranges.train_end - 1]})"),
        ("validation", f"to step {ranges.validation_end - 1} ({clock[ranges.validation_end - 1]})"),
        ("test", f"to step {ranges.end - 1} ({clock[ranges.end - 1]})"),
    ]
    return "\n".join(f"{name:<12}{text}" for name, text in lines)


def train(spec: GraphSpec, dataset: SnapshotSet, *, say: Say = print) -> Trained:
    """Fit the model and the yardsticks, and judge them on the test steps.

    Raises BudgetRefused where a budget protects the data: no model of a graph is private.
    """
    prepared = prepare(spec, dataset)
    leave = ask_leave(spec, dataset.manifest.sources.values())
    evaluated = backtest(spec, prepared, folder=runs() / spec.name, say=say)
    leave.used(evaluated.fitted.key)
    return Trained(prepared, evaluated)


def enrol(spec: GraphSpec, dataset: SnapshotSet, trained: Trained, *, say: Say = print) -> tuple[Registered, bool]:
    """The registered version of this training, and whether an equal run had registered it before."""
    require_kind(client(spec.registry.tracking_uri), spec.registered_name, is_graph=True)
    known = find_registered(spec, trained.evaluated)
    if known is not None:
        say(f"registry: {known.name} version {known.version} is this very model, re-used ({known.alias})")
        return known, True
    registered = register(spec, dataset, trained.prepared, trained.evaluated)
    say(f"registry: {registered.name} version {registered.version}, {registered.reason}")
    return registered, False


def forecast(spec: GraphSpec, dataset: SnapshotSet) -> GraphForecast:
    """The champion's forecast from the newest snapshots. Raises RegistryError where there is no champion."""
    store = client(spec.registry.tracking_uri)
    version = champion(store, spec.registered_name)
    if version is None:
        raise RegistryError(f"{spec.registered_name} has no champion yet; train one with `flockcast run`")
    require_kind(store, spec.registered_name, is_graph=True)
    artefact = load_artefact(fetch_forecaster(store, version))
    if artefact.task.kind != spec.task.kind:
        raise RegistryError(
            f"the champion of {spec.registered_name} tells {artefact.task.kind} and the spec asks for "
            f"{spec.task.kind}; give registry.model another name"
        )
    frame = predict(artefact, dataset.snapshots)
    return GraphForecast(artefact.model.label, str(version.version), cutoff_of(dataset.snapshots), frame)
