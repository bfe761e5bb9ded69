"""One line for a person: on the terminal, and in the log of the run where there is one."""

from prefect import get_run_logger
from prefect.exceptions import MissingContextError


def say(line: str) -> None:
    """Print `line`, and log it to the Prefect run; the settings keep Prefect's own copy off the terminal."""
    print(line, flush=True)
    try:
        get_run_logger().info(line)
    except MissingContextError:
        return  # the step runs without its flow
