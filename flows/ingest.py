"""Sources to a data set."""

from typing import TypedDict

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.states import State

from flows.artifacts import show_data_quality
from flows.names import run_name
from flows.retry import DELAYS, RETRIES, may_pass
from flows.reuse import cached, value_of
from flows.say import say
from pipelines.kinds import AnyData, AnySpec, steps_of
from pipelines.spec import load_spec


class Ingestion(TypedDict):
    name: str
    version: str
    rows_read: int
    rows_used: int


@flow(flow_run_name=run_name)
def ingest(spec: str, fresh: bool = False) -> Ingestion:
    """Read the sources of `spec`, a path or a bundled name, into the data-set store.

    `fresh` reads them even if nothing changed.
    """
    manifest = value_of(read_sources(load_spec(spec), fresh)).manifest
    return Ingestion(
        name=manifest.name, version=manifest.version, rows_read=manifest.rows_read, rows_used=manifest.rows_used
    )


@task(
    name="ingest",
    task_run_name="ingest {spec.name}",
    retries=RETRIES,
    retry_delay_seconds=DELAYS,
    retry_condition_fn=may_pass,
    cache_policy=NO_CACHE,
)
def read_sources(spec: AnySpec, fresh: bool = False) -> AnyData | State[AnyData]:
    dataset, reused = steps_of(spec).ingest(spec, fresh=fresh, say=say)
    show_data_quality(dataset.manifest)
    return (
        cached(dataset, f"{spec.name} {dataset.manifest.version}: sources and recipe unchanged") if reused else dataset
    )
