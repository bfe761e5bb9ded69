"""Run the main job by the clock: a Prefect deployment with a cron schedule in a time zone.

The Prefect server decides when, a worker runs it: `prefect worker start --pool flockcast`, in an environment where
flockcast is installed. The flow is found by its module, so the worker's folder does not matter; its data and models
go to the FLOCKCAST_HOME and MLFLOW_TRACKING_URI of the worker.
"""

import zoneinfo
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from prefect import Flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterTags,
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import StateType
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import ObjectAlreadyExists
from prefect.schedules import Cron, Schedule
from prefect.types.entrypoint import EntrypointType

from flows.names import absolute_spec
from flows.pipeline import pipeline
from flows.server import require_server
from pipelines.errors import SpecError
from pipelines.settings import ENVIRONMENT
from pipelines.spec import load_spec

POOL, TAG = "flockcast", "flockcast"
# what Prefect must know before it loads; the rest is set when the worker imports our flows, unless the worker sets it
EARLY = {name: value for name, value in ENVIRONMENT.items() if name.startswith(("PREFECT_", "DO_NOT_TRACK"))}


@dataclass(frozen=True)
class Scheduled:
    """One row of what runs by the clock."""

    name: str
    spec: str
    cron: str
    timezone: str
    next_run: datetime | None  # None until the server has planned it


def schedule(
    spec: str,
    cron: str,
    timezone: str,
    *,
    name: str | None = None,
    work_pool: str = POOL,
    flow: Flow[..., Any] = pipeline,
    **parameters: Any,
) -> str:
    """Register `spec` to run at the times of `cron` on the clock of `timezone`; the same name again replaces it.

    `flow` is the main job, or another that takes a spec and these `parameters`. Gives a sentence for a person. Raises
    SpecError for a wrong cron line or zone, ServerError where no server answers.
    """
    clock = read_clock(cron, timezone)
    name = name or load_spec(spec).name
    url = require_server()
    with get_client(sync_client=True) as client:
        _make_pool(client, work_pool)
    deployment = flow.to_deployment(
        name,
        schedule=clock,
        parameters={"spec": absolute_spec(spec), **parameters},
        tags=[TAG],
        work_pool_name=work_pool,
        job_variables={"env": EARLY},
        entrypoint_type=EntrypointType.MODULE_PATH,
    )
    deployment.apply()
    return (
        f"{name} runs at '{cron}' {timezone} time, by {url}\n"
        f"its worker, if none runs yet: prefect worker start --pool {work_pool}"
    )


def unschedule(name: str) -> None:
    """Take the schedule of that name off the server, its planned runs with it. Raises SpecError where there is none."""
    require_server()
    with get_client(sync_client=True) as client:
        found = [deployment for deployment in _deployments(client) if deployment.name == name]
        if not found:
            raise SpecError(f"nothing called {name} is scheduled; these are: {_names(client)}")
        for deployment in found:
            client.delete_deployment(deployment.id)


def scheduled() -> list[Scheduled]:
    """All that `schedule` has registered, by name."""
    require_server()
    with get_client(sync_client=True) as client:
        return [_row(client, found) for found in _deployments(client)]


def read_clock(cron: str, timezone: str) -> Schedule:
    """Raises SpecError with what is wrong."""
    if timezone not in zoneinfo.available_timezones():
        raise SpecError(f"timezone {timezone!r} is no IANA time zone; write it as 'Europe/Oslo' or 'UTC'")
    try:
        return Cron(cron, timezone=timezone)
    except ValueError:
        raise SpecError(
            f"cron {cron!r} is no cron line; write minute, hour, day of month, month and day of week, "
            "as '0 5 * * 1' for Mondays at 05:00"
        ) from None


def _make_pool(client: SyncPrefectClient, name: str) -> None:
    try:
        client.create_work_pool(WorkPoolCreate(name=name, type="process"))
    except ObjectAlreadyExists:
        return


def _deployments(client: SyncPrefectClient) -> list[DeploymentResponse]:
    ours = DeploymentFilter(tags=DeploymentFilterTags(all_=[TAG]))
    return sorted(client.read_deployments(deployment_filter=ours), key=lambda deployment: deployment.name)


def _names(client: SyncPrefectClient) -> str:
    return ", ".join(deployment.name for deployment in _deployments(client)) or "none"


def _row(client: SyncPrefectClient, found: DeploymentResponse) -> Scheduled:
    clock = found.schedules[0].schedule
    planned = client.read_flow_runs(
        flow_run_filter=FlowRunFilter(
            deployment_id=FlowRunFilterDeploymentId(any_=[found.id]),
            state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.SCHEDULED])),
        ),
        sort=FlowRunSort.EXPECTED_START_TIME_ASC,
        limit=1,
    )
    return Scheduled(
        name=found.name,
        spec=found.parameters["spec"],
        cron=clock.cron,
        timezone=clock.timezone,
        next_run=planned[0].expected_start_time if planned else None,
    )
