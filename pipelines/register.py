"""One experiment becomes one MLflow run and one version of a registered model."""

import os
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from importlib.metadata import distributions, version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import polars as pl

from data.dataset import DataSet
from pipelines.artefact import Config, describe_artefact, load_artefact, save_artefact
from pipelines.errors import RegistryError, StoreError
from pipelines.evaluate import Evaluated
from pipelines.explain import explain, relation_metrics, relation_table, relations_by_epoch
from pipelines.fingerprint import code_fingerprint, git_revision
from pipelines.gate import Verdict, judge
from pipelines.metrics import METRICS
from pipelines.model_card import MARKDOWN, PAGE, card_of, card_page
from pipelines.predict import QUANTILES, quantile_name
from pipelines.prepare import Prepared
from pipelines.privacy.claim import Protection
from pipelines.privacy.registered import PROTECTED, protection_of, require_trained
from pipelines.privacy.tags import INTERNAL_TAGS, tags_of
from pipelines.privacy.utility import utility_tags
from pipelines.registry import CHALLENGER, CHAMPION, LEAKY, OURS, champion, client, crown, fetch_forecaster
from pipelines.results import Alias, Explanation, Registered
from pipelines.settings import artifacts
from pipelines.spec import Spec

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.models import ModelSignature
    from mlflow.models.model import ModelInfo

MODEL_CODE = Path(__file__).with_name("served_model.py")
KEY = "flockcast.key"


def registration_key(spec: Spec, evaluated: Evaluated) -> str:
    """Equal keys, equal versions: the same weights, judged by the same backtest, and counts that stay counts.

    A private training has other noise and was paid for anew each time, so that the commit of its run is part of it.
    """
    paid = evaluated.fitted.protection
    weights = evaluated.fitted.key if paid is None else f"{evaluated.fitted.key}-{paid.ledger_hash[:12]}"
    kept = "-internal" if evaluated.is_internal else ""
    return f"{weights}-{spec.digest('data', 'evaluation', 'task', 'registry')}-{code_fingerprint()}{kept}"


def find_registered(spec: Spec, evaluated: Evaluated) -> Registered | None:
    """The version that an equal run has registered."""
    store = client(spec.registry.tracking_uri)
    name = spec.registered_name
    key = registration_key(spec, evaluated)
    found = store.search_model_versions(f"name = '{name}' and tags.`{KEY}` = '{key}'")
    if not found:
        return None
    newest = max(found, key=lambda version: int(version.version))
    present = champion(store, name)
    alias: Alias = CHAMPION if present is not None and present.version == newest.version else CHALLENGER
    reason = newest.tags["flockcast.reason"]
    return Registered(name, str(newest.version), alias, newest.run_id or "", store.tracking_uri, reason)


def register(spec: Spec, dataset: DataSet, prepared: Prepared, evaluated: Evaluated) -> Registered:
    """Log the run, register the version, and crown it if it earned that. Raises RegistryError, RunError of MLflow.

    A private model is registered only if the ledger holds what its training cost, or the release of its data.
    """
    import mlflow

    protection = _protection(dataset, evaluated)
    store = client(spec.registry.tracking_uri)
    name = spec.registered_name
    present = champion(store, name)
    verdict = _verdict(store, spec, prepared, evaluated, present, protection)
    run_name = f"{spec.model.label} {dataset.manifest.version}"
    with logging_to(store):
        with mlflow.start_run(experiment_id=experiment_id(store, spec.name), run_name=run_name) as run:
            _log_run(store, run.info.run_id, spec, dataset, evaluated, explain(prepared, evaluated.fitted))
            if protection is not None:
                _log_protection(store, run.info.run_id, spec, prepared, evaluated, protection)
            model = _log_model(spec, prepared, evaluated, protection)
        entry = new_version(
            store,
            name,
            source=model.model_uri,
            run_id=model.run_id,
            tags=_tags(spec, dataset, evaluated, verdict) | tags_of(protection),
            description=evaluated.backtest.protocol,
            model_id=model.model_id,
        )
    return settle(store, entry, verdict, run_id=run.info.run_id)


def _protection(dataset: DataSet, evaluated: Evaluated) -> Protection | None:
    """Of the training, where it was private, else of the data. Raises RegistryError where it was not paid for."""
    trained = evaluated.fitted.protection
    if trained is None:
        return protection_of(dataset)
    require_trained(trained, evaluated.fitted.network)
    return trained


def settle(store: "MlflowClient", entry: "ModelVersion", verdict: Verdict, *, run_id: str) -> Registered:
    """Crown a new version, or name it the challenger."""
    if verdict.is_champion:
        crown(store, entry.name, entry.version)
    else:
        store.set_registered_model_alias(entry.name, CHALLENGER, entry.version)
    alias: Alias = CHAMPION if verdict.is_champion else CHALLENGER
    return Registered(entry.name, str(entry.version), alias, run_id, store.tracking_uri, verdict.reason)


def _verdict(
    store: "MlflowClient",
    spec: Spec,
    prepared: Prepared,
    evaluated: Evaluated,
    present: "ModelVersion | None",
    protection: Protection | None,
) -> Verdict:
    """A champion whose files this version of flockcast can't read serves nobody, and so is replaced; and one that
    protects nobody is replaced by one that does, however good it is, but never the other way round."""
    result = evaluated.backtest
    alone = judge(spec.registry, prepared, result, None, "")
    if present is None or not alone.is_champion:
        return alone
    if protection is not None and PROTECTED not in present.tags:
        return Verdict(True, f"champion: version {present.version} before it protects nobody")
    if protection is None and PROTECTED in present.tags:
        return Verdict(
            False, f"challenger: it protects nobody, and champion {present.version} does; promote it by hand"
        )
    try:
        artefact = load_artefact(fetch_forecaster(store, present))
    except StoreError as error:
        return Verdict(True, f"champion: version {present.version} before it can't be read: {error}")
    return judge(spec.registry, prepared, result, artefact, present.version)


@contextmanager
def logging_to(store: "MlflowClient") -> Iterator[None]:
    """MLflow's logging calls know their store from a global, which it copies to the environment; both are put back,
    or the next experiment of this process would land in the store of this one."""
    import mlflow

    before = {name: os.environ.get(name) for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI")}
    mlflow.set_tracking_uri(store.tracking_uri)
    mlflow.set_registry_uri(store.tracking_uri)
    try:
        yield
    finally:
        mlflow.set_registry_uri("")
        mlflow.set_tracking_uri(None)
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def attach_report(registered: Registered, report: Path) -> None:
    """Put the report beside the run's other artefacts."""
    client(registered.tracking_uri).log_artifact(registered.run_id, str(report), "report")


def experiment_id(store: "MlflowClient", name: str) -> str:
    found = store.get_experiment_by_name(name)
    if found is not None:
        if found.lifecycle_stage == "deleted":
            raise RegistryError(
                f"the MLflow experiment {name!r} was deleted; restore it, or give the spec another name"
            )
        return found.experiment_id
    local = store.tracking_uri.startswith("sqlite:")
    return store.create_experiment(name, artifact_location=(artifacts() / name).as_uri() if local else None)


def _log_run(
    store: "MlflowClient",
    run_id: str,
    spec: Spec,
    dataset: DataSet,
    evaluated: Evaluated,
    explanation: Explanation | None,
) -> None:
    from mlflow.entities import Metric, Param, RunTag

    now = int(pd.Timestamp.now("UTC").timestamp() * 1000)
    rows = _metrics(evaluated) + (relation_metrics(explanation) if explanation is not None else [])
    metrics = [Metric(key, value, now, step) for key, value, step in rows if np.isfinite(value)]
    params = [Param(key, value) for key, value in _params(spec)]
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
    store.log_text(run_id, environment_text(), "environment.txt")
    if explanation is not None:
        _log_relations(store, run_id, explanation)


def _log_protection(
    store: "MlflowClient", run_id: str, spec: Spec, prepared: Prepared, evaluated: Evaluated, protection: Protection
) -> None:
    """Before the version is there, so that no kill can leave a private one without its card."""
    for key, value in tags_of(protection).items():
        store.set_tag(run_id, key, value)
    card = card_of(protection, describe_artefact(spec, prepared, evaluated, protection))
    store.log_text(run_id, protection.to_json(), "privacy/protection.json")
    store.log_text(run_id, card.as_markdown(), f"privacy/{MARKDOWN}")
    store.log_text(run_id, card_page(card), f"privacy/{PAGE}")


def _log_relations(store: "MlflowClient", run_id: str, explanation: Explanation) -> None:
    store.log_text(run_id, relation_table(explanation).write_csv(), "relations.csv")
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "relations_by_epoch.parquet"
        relations_by_epoch(explanation).write_parquet(file)
        store.log_artifact(run_id, str(file))


def _metrics(evaluated: Evaluated) -> list[tuple[str, float, int]]:
    """Name, value, step: totals of every model, ours by lead time (the step), the course of training by epoch."""
    result = evaluated.backtest
    total = result.scores.filter(pl.col("variable") == "all")
    rows: list[tuple[str, float, int]] = []
    for row in total.iter_rows(named=True):
        ours = row["model"] == result.model
        for metric in METRICS:
            if row["horizon"] == 0:
                rows.append((metric if ours else f"{row['model']}/{metric}", row[metric], 0))
            elif ours:
                rows.append((f"{metric}_by_lead_time", row[metric], row["horizon"]))
    for method, found in result.intervals.items():
        rows.append((f"coverage_{method}", found.coverage, 0))
        rows.append((f"interval_width_{method}", found.mean_width, 0))
    for row in evaluated.fitted.history.epochs.iter_rows(named=True):
        rows += [(name, row[name], int(row["epoch"])) for name in ("train_loss", "validation_loss")]
    return rows


def _params(spec: Spec) -> list[tuple[str, str]]:
    content = spec.model_dump(mode="json", include={"task", "model", "training", "evaluation"})
    return [(f"{table}.{key}", str(value)) for table, keys in content.items() for key, value in keys.items()]


def environment_text() -> str:
    return "\n".join(sorted(f"{d.metadata['Name']}=={d.version}" for d in distributions())) + "\n"


def new_version(
    store: "MlflowClient",
    name: str,
    *,
    source: str,
    run_id: str,
    tags: dict[str, str],
    description: str,
    model_id: str | None = None,
) -> "ModelVersion":
    """The tags come with the version, so that no kill can leave one that we would not know as ours."""
    from mlflow.exceptions import MlflowException

    try:
        store.get_registered_model(name)
    except MlflowException:
        store.create_registered_model(name)
    return store.create_model_version(
        name, source=source, run_id=run_id, tags=tags, description=description, model_id=model_id
    )


def _log_model(spec: Spec, prepared: Prepared, evaluated: Evaluated, protection: Protection | None) -> "ModelInfo":
    import mlflow

    config = describe_artefact(spec, prepared, evaluated, protection)
    with tempfile.TemporaryDirectory() as scratch, warnings.catch_warnings():
        folder = Path(scratch) / "forecaster"
        save_artefact(folder, config, evaluated)
        # MLflow would keep and try it: a table of observations has no flows, and a private model refuses it
        has_example = not evaluated.fitted.network.edge_steps and not config.is_marked
        example = newest_window(prepared) if has_example else None
        # and it would tell a person to give one
        warnings.filterwarnings("ignore", message=".*An input example was not provided", category=UserWarning)
        return mlflow.pyfunc.log_model(
            name="model",
            python_model=str(MODEL_CODE),
            artifacts={"forecaster": str(folder)},
            signature=_signature(config),
            input_example=example,
            pip_requirements=[f"flockcast=={version('flockcast')}"],
            metadata={"model": spec.model.label, "leaky": spec.model.leaky},
        )


def newest_window(prepared: Prepared) -> pd.DataFrame:
    """The last window of the data as raw observations: what a caller of the model would send."""
    window, panel = prepared.shape.window, prepared.panel
    times = [time.isoformat() for time in panel.index[-window:]]
    columns = {
        "unique_id": np.repeat(panel.nodes, window),
        "ds": np.tile(times, len(panel.nodes)),
    }
    for i, name in enumerate(panel.variables):
        columns[name] = panel.values[-window:, :, i].T.ravel()
    return pd.DataFrame(columns)


def _signature(config: Config) -> "ModelSignature":
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema

    texts = [ColSpec(DataType.string, "unique_id"), ColSpec(DataType.string, "ds")]
    values = [ColSpec(DataType.double, name) for name in config.variables]
    quantiles = [ColSpec(DataType.double, quantile_name(q)) for q in QUANTILES]
    marks = [ColSpec(DataType.string, "mark")] if config.is_marked else []
    given = [*texts, ColSpec(DataType.string, "variable"), ColSpec(DataType.long, "lead_time")]
    return ModelSignature(
        inputs=Schema(texts + values),
        outputs=Schema([*given, ColSpec(DataType.double, "forecast"), *quantiles, *marks]),
        params=ParamSchema(
            [
                ParamSpec("horizon", DataType.long, 0),
                ParamSpec("quantiles", DataType.double, list(QUANTILES), shape=(-1,)),
                *([ParamSpec("raw_input", DataType.boolean, False)] if config.is_marked else []),
            ]
        ),
    )


def _tags(spec: Spec, dataset: DataSet, evaluated: Evaluated, verdict: Verdict) -> dict[str, str]:
    result = evaluated.backtest
    return {
        OURS: "1",
        KEY: registration_key(spec, evaluated),
        "flockcast.model": spec.model.label,
        **({LEAKY: "1"} if result.leaky else {}),
        "flockcast.mae": f"{result.total(result.model, 'mae'):.6g}",
        "flockcast.dataset_version": dataset.manifest.version,
        "flockcast.reason": verdict.reason,
        "flockcast.git": git_revision(),
        **utility_tags(dataset.manifest.release, result),
        **(INTERNAL_TAGS if evaluated.is_internal else {}),
    }
