"""The Prefect server that a run reports to: the one that PREFECT_API_URL names, else a temporary one of its own.

Prefect ends its temporary server when Python exits. After a `kill -9` it would stay, with 300 MB and a hand on the
database, and ten killed runs would leave ten. So a shell waits for the end of a pipe that only this process holds
open, and then ends the server.
"""

import atexit
import subprocess
from collections.abc import Callable

from prefect.client.orchestration import get_client
from prefect.server.api.server import SubprocessASGIServer
from prefect.settings import get_current_settings

from pipelines.errors import ServerError

HOW = "start one with `prefect server start` and set PREFECT_API_URL to it, as http://127.0.0.1:4200/api"


def reach_server(say: Callable[[str], None] = print) -> None:
    """Make sure that a run has a server to report to. Raises ServerError where it can't be had."""
    if get_current_settings().api.url:
        require_server()
        return
    try:
        TiedServer().start()
    except (RuntimeError, OSError) as error:
        raise ServerError(f"Prefect's temporary server did not start: {error}\nor {HOW}") from error
    say("prefect: a temporary server follows this run; set PREFECT_API_URL to report to one that stays")


def require_server() -> str:
    """The address of the server that PREFECT_API_URL names. Raises ServerError if there is none, or no answer."""
    url = get_current_settings().api.url
    if not url:
        raise ServerError(f"no Prefect server is named, and a schedule needs one that stays; {HOW}")
    with get_client(sync_client=True) as client:
        trouble = client.api_healthcheck()
    if trouble is not None:
        raise ServerError(f"the Prefect server at {url} does not answer ({trouble}); {HOW}") from trouble
    return str(url)


class TiedServer(SubprocessASGIServer):
    """Prefect's temporary server, which ends when this process does, in whatever way that is."""

    def _run_uvicorn_command(self) -> "subprocess.Popen[bytes]":
        server: subprocess.Popen[bytes] = super()._run_uvicorn_command()
        keeper = subprocess.Popen(
            ["sh", "-c", 'cat; kill "$1"', "keeper", str(server.pid)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C in the terminal is for us; the keeper must outlive us by a moment
        )
        atexit.register(_dismiss, keeper)
        return server


def _dismiss(keeper: "subprocess.Popen[bytes]") -> None:
    """Python exits as it should and Prefect ends the server, so the keeper must not act when its pipe closes."""
    keeper.kill()
    keeper.communicate()
