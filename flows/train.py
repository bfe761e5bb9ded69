"""A data set to a version in the registry."""

from typing import TypedDict

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.states import State

from flows.artifacts import show_yardsticks
from flows.ingest import read_sources
from flows.names import run_name
from flows.retry import DELAYS, RETRIES, may_pass
from flows.reuse import cached, value_of
from flows.say import say
from pipelines.kinds import AnyData, AnySpec, AnyTrained, steps_of
from pipelines.results import Registered
from pipelines.spec import load_spec


class Training(TypedDict):
    dataset_version: str
    model: str
    version: str
    alias: str
    reason: str


@flow(flow_run_name=run_name)
def train(spec: str) -> Training:
    """Train the model of `spec`, judge it in a backtest, and register it; it becomes champion if it earned that."""
    chosen = load_spec(spec)
    dataset = value_of(read_sources(chosen))
    registered = value_of(enrol(chosen, dataset, value_of(fit(chosen, dataset))))
    return training_record(dataset, registered)


@task(name="train", task_run_name="train {spec.model.label} on {dataset.manifest.name}", cache_policy=NO_CACHE)
def fit(spec: AnySpec, dataset: AnyData) -> AnyTrained | State[AnyTrained]:
    steps = steps_of(spec)
    trained = steps.train(spec, dataset, say=say)
    say(steps.table(trained))
    show_yardsticks(spec.name, trained.evaluated.backtest)
    fitted = trained.evaluated.fitted
    return cached(trained, f"weights {fitted.key}: data, model and settings unchanged") if fitted.reused else trained


@task(
    name="register",
    task_run_name="register {spec.registered_name}",
    retries=RETRIES,
    retry_delay_seconds=DELAYS,
    retry_condition_fn=may_pass,
    cache_policy=NO_CACHE,
)
def enrol(spec: AnySpec, dataset: AnyData, trained: AnyTrained) -> Registered | State[Registered]:
    registered, known = steps_of(spec).enrol(spec, dataset, trained, say=say)
    return cached(registered, f"version {registered.version} is this very model") if known else registered


def training_record(dataset: AnyData, registered: Registered) -> Training:
    return Training(
        dataset_version=dataset.manifest.version,
        model=registered.name,
        version=registered.version,
        alias=registered.alias,
        reason=registered.reason,
    )
