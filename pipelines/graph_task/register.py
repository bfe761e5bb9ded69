"""One experiment on a dynamic graph becomes one MLflow run and one version of a registered model.

The version's files are those of `pipelines.graph_task.artefact`, where those of a forecaster of series lie too; there
is no MLflow flavour around them, since a model of a graph reads snapshots and not a frame of observations.
"""

import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from data.snapshot_store import SnapshotSet
from pipelines.errors import StoreError
from pipelines.fingerprint import code_fingerprint, git_revision
from pipelines.gate import Verdict
from pipelines.graph_task.artefact import describe_artefact, load_artefact, save_artefact
from pipelines.graph_task.evaluate import Evaluated
from pipelines.graph_task.gate import judge
from pipelines.graph_task.prepare import Prepared
from pipelines.graph_task.spec import GraphSpec
from pipelines.register import KEY, environment_text, experiment_id, logging_to, new_version, settle
from pipelines.registry import CHALLENGER, CHAMPION, GRAPH, OURS, champion, client, fetch_forecaster
from pipelines.results import Alias, Registered

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

MODEL = "model"  # the folder of a version among the artefacts of its run


def registration_key(spec: GraphSpec, evaluated: Evaluated) -> str:
    """Equal keys, equal versions: the same weights, judged in the same way."""
    return f"{evaluated.fitted.key}-{spec.digest('data', 'evaluation', 'task', 'registry')}-{code_fingerprint()}"


def find_registered(spec: GraphSpec, evaluated: Evaluated) -> Registered | None:
    """The version that an equal run has registered."""
    store, name = client(spec.registry.tracking_uri), spec.registered_name
    key = registration_key(spec, evaluated)
    found = store.search_model_versions(f"name = '{name}' and tags.`{KEY}` = '{key}'")
    if not found:
        return None
    newest = max(found, key=lambda version: int(version.version))
    present = champion(store, name)
    alias: Alias = CHAMPION if present is not None and present.version == newest.version else CHALLENGER
    reason = newest.tags["flockcast.reason"]
    return Registered(name, str(newest.version), alias, newest.run_id or "", store.tracking_uri, reason)


def register(spec: GraphSpec, dataset: SnapshotSet, prepared: Prepared, evaluated: Evaluated) -> Registered:
    """Log the run, register the version, and crown it if it earned that. Raises RegistryError, RunError of MLflow."""
    import mlflow

    store, name = client(spec.registry.tracking_uri), spec.registered_name
    present = champion(store, name)
    verdict = _verdict(store, spec, prepared, evaluated, present)
    run_name = f"{spec.model.label} {dataset.manifest.version}"
    with logging_to(store), mlflow.start_run(experiment_id=experiment_id(store, spec.name), run_name=run_name) as run:
        run_id = run.info.run_id
        _log_run(store, run_id, spec, dataset, evaluated)
        with tempfile.TemporaryDirectory() as scratch:
            config = describe_artefact(spec, prepared, evaluated)
            save_artefact(Path(scratch) / "artifacts" / "forecaster", config, evaluated.fitted.network)
            store.log_artifacts(run_id, scratch, MODEL)
    entry = new_version(
        store,
        name,
        source=f"{run.info.artifact_uri}/{MODEL}",
        run_id=run_id,
        tags=_tags(spec, dataset, evaluated, verdict),
        description=evaluated.backtest.protocol,
    )
    return settle(store, entry, verdict, run_id=run_id)


def _verdict(
    store: "MlflowClient", spec: GraphSpec, prepared: Prepared, evaluated: Evaluated, present: "ModelVersion | None"
) -> Verdict:
    """A champion whose files this version of flockcast can't read serves nobody, and so is replaced."""
    if present is None:
        return judge(spec, prepared, evaluated, None, "")
    try:
        artefact = load_artefact(fetch_forecaster(store, present))
    except StoreError as error:
        return Verdict(True, f"champion: version {present.version} before it can't be read: {error}")
    return judge(spec, prepared, evaluated, artefact, str(present.version))


def _log_run(store: "MlflowClient", run_id: str, spec: GraphSpec, dataset: SnapshotSet, evaluated: Evaluated) -> None:
    from mlflow.entities import Metric, Param, RunTag

    now = int(pd.Timestamp.now("UTC").timestamp() * 1000)
    metrics = [Metric(key, value, now, step) for key, value, step in _metrics(evaluated) if np.isfinite(value)]
    content = spec.model_dump(mode="json", include={"task", "model", "training", "evaluation"})
    params = [Param(f"{table}.{key}", str(value)) for table, keys in content.items() for key, value in keys.items()]
    tags = {
        "flockcast.dataset_version": dataset.manifest.version,
        "flockcast.protocol": evaluated.backtest.protocol,
        "flockcast.spec_digest": spec.digest(),
        "flockcast.device": evaluated.fitted.history.device,
        "mlflow.source.git.commit": git_revision(),
    }
    for first in range(0, len(metrics), 500):  # MLflow takes 1,000 at most in one call
        store.log_batch(run_id, metrics=metrics[first : first + 500])
    store.log_batch(run_id, params=params, tags=[RunTag(key, value) for key, value in tags.items()])
    store.log_dict(run_id, spec.model_dump(mode="json"), "spec.json")
    store.log_dict(run_id, asdict(dataset.manifest), "manifest.json")
    store.log_text(run_id, evaluated.backtest.scores.write_csv(), "scores.csv")
    store.log_text(run_id, evaluated.backtest.steps.write_csv(), "steps.csv")
    store.log_text(run_id, environment_text(), "environment.txt")


def _metrics(evaluated: Evaluated) -> list[tuple[str, float, int]]:
    """Name, value, step: every model's figures, the course of training by epoch."""
    result = evaluated.backtest
    rows: list[tuple[str, float, int]] = []
    for row in result.scores.iter_rows(named=True):
        before = "" if row["model"] == result.model else f"{row['model']}/"
        rows += [(before + name, value, 0) for name, value in row.items() if name != "model"]
    for row in evaluated.fitted.history.epochs.iter_rows(named=True):
        rows += [(name, row[name], int(row["epoch"])) for name in ("train_loss", "validation_score")]
    return rows


def _tags(spec: GraphSpec, dataset: SnapshotSet, evaluated: Evaluated, verdict: Verdict) -> dict[str, str]:
    result = evaluated.backtest
    return {
        OURS: "1",
        GRAPH: spec.task.kind,
        KEY: registration_key(spec, evaluated),
        "flockcast.model": spec.model.label,
        f"flockcast.{spec.metric}": f"{result.score(result.model, spec.metric):.6g}",
        "flockcast.dataset_version": dataset.manifest.version,
        "flockcast.reason": verdict.reason,
        "flockcast.git": git_revision(),
    }
