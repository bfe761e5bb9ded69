"""Which failures are worth another try: those of the outside world that may pass, not verdicts on data or settings."""

from typing import Any

from prefect.client.schemas.objects import State, TaskRun
from prefect.tasks import Task

from flows.say import say
from pipelines.errors import RegistryUnreachable

RETRIES = 3
DELAYS = [2.0, 10.0, 60.0]  # seconds


def may_pass(_: Task[..., Any], run: TaskRun, state: State[Any]) -> bool:
    """True for a disk, a network or a registry that fails now; it is said, so that nobody waits in the dark."""
    error = state.data
    if not isinstance(error, (OSError, RegistryUnreachable)):
        return False
    if run.run_count <= RETRIES:
        say(f"{run.name}: {error}; trying again in {DELAYS[run.run_count - 1]:.0f} s")
    return True
