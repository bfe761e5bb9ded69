"""The champion's forecast from the newest data."""

from pathlib import Path
from typing import TypedDict

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from flows.ingest import read_sources
from flows.names import run_name
from flows.retry import DELAYS, RETRIES, may_pass
from flows.reuse import value_of
from flows.say import say
from pipelines.experiment import save_forecast
from pipelines.kinds import AnyData, AnyForecast, AnySpec, steps_of
from pipelines.spec import load_spec


class Forecasting(TypedDict):
    dataset_version: str
    model: str
    version: str
    cutoff: str  # the last step that the forecast knew
    forecast: str  # the Parquet file


@flow(flow_run_name=run_name)
def forecast(spec: str) -> Forecasting:
    """Forecast from the newest steps of the data of `spec` with its champion, and write that as Parquet."""
    chosen = load_spec(spec)
    dataset = value_of(read_sources(chosen))
    found, file = predict(chosen, dataset)
    return Forecasting(
        dataset_version=dataset.manifest.version,
        model=chosen.registered_name,
        version=found.version or "",
        cutoff=found.known_until,
        forecast=str(file),
    )


@task(
    name="forecast",
    task_run_name="forecast {spec.name}",
    retries=RETRIES,
    retry_delay_seconds=DELAYS,
    retry_condition_fn=may_pass,
    cache_policy=NO_CACHE,
)
def predict(spec: AnySpec, dataset: AnyData) -> tuple[AnyForecast, Path]:
    steps = steps_of(spec)
    found = steps.forecast(spec, dataset)
    file = save_forecast(found, steps.output_folder(spec, dataset) / "forecast.parquet")
    say(f"forecast: {file}")
    return found, file
