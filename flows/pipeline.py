"""The main job: sources in; a registered model, a forecast and a report out."""

from pathlib import Path

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from flows.artifacts import Progress, show_results
from flows.forecast import predict
from flows.ingest import read_sources
from flows.names import run_name
from flows.reuse import value_of
from flows.say import say
from flows.train import Training, enrol, fit, training_record
from pipelines.kinds import AnyData, AnyForecast, AnySpec, AnyTrained, steps_of
from pipelines.results import Registered
from pipelines.spec import load_spec

STEPS = ("ingest", "train", "register", "forecast", "report")


class Outcome(Training):
    forecast: str  # the Parquet file
    report: str  # the HTML file


@flow(flow_run_name=run_name)
def pipeline(spec: str, fresh: bool = False) -> Outcome:
    """Ingest, train, register, forecast and report `spec`, a path or a bundled name.

    What has not changed is re-used, and its task ends as Cached; `fresh` reads the sources anew all the same.
    """
    chosen = load_spec(spec)
    progress = Progress(chosen.name, STEPS)
    dataset = value_of(read_sources(chosen, fresh))
    progress.advance()
    trained = value_of(fit(chosen, dataset))
    progress.advance()
    registered = value_of(enrol(chosen, dataset, trained))
    progress.advance()
    found, file = predict(chosen, dataset)
    progress.advance()
    page = report(chosen, dataset, trained, registered, found)
    progress.advance()
    show_results(chosen.name, registered, found, page, file)
    return Outcome(**training_record(dataset, registered), forecast=str(file), report=str(page))


@task(name="report", task_run_name="report {spec.name}", cache_policy=NO_CACHE)
def report(spec: AnySpec, dataset: AnyData, trained: AnyTrained, registered: Registered, found: AnyForecast) -> Path:
    steps = steps_of(spec)
    place = steps.output_folder(spec, dataset) / "report.html"
    page = steps.report(spec, dataset, trained, registered, found, place)
    say(f"report: {page}")
    return page
