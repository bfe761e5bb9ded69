"""Where things live, and what the environment must say.

Four variables of the environment are ours to read:

FLOCKCAST_HOME       the folder of everything that flockcast keeps: data sets, quarantine, runs, the MLflow store.
                     By default the data folder that the system gives to a user's programs.
MLFLOW_TRACKING_URI  the MLflow server or store to use in place of the one in FLOCKCAST_HOME.
FLOCKCAST_LEDGER     the privacy ledger's database, SQLite or PostgreSQL, in place of ledger.db in FLOCKCAST_HOME.
FLOCKCAST_LEDGER_MODE  "test" opens ledgers that take test noise and code that is not committed; what they hold can
                     never be shown as a real spend.

This module is imported for `flockcast --help`, so it imports nothing heavy.
"""

import os
from pathlib import Path

from platformdirs import user_data_dir

ENVIRONMENT = {
    # no telemetry
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "RAY_USAGE_STATS_ENABLED": "0",
    # a Prefect server in the process takes a while to start on a busy machine; 20 s is too short
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",
    # the log of a run goes to its server; the terminal is for what our commands say themselves
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
    "PREFECT_INTERNAL_LOGGING_LEVEL": "CRITICAL",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    # MLflow's own seven take four minutes to say that a server is not there
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    # job workers that we never use; they hold the store open
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    # one thread is fastest where cores are shared
    "OMP_NUM_THREADS": "1",
}


def apply_environment() -> None:
    """Set what is not set yet: a person's own choice always stands. Call this before Prefect, MLflow and torch load."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)


def home() -> Path:
    chosen = os.environ.get("FLOCKCAST_HOME") or user_data_dir("flockcast")
    return Path(chosen).expanduser().absolute()


def datasets() -> Path:
    return home() / "datasets"


def quarantine() -> Path:
    """Examples of rejected rows live here, raw as they are: outside the store, for their owner's eyes only."""
    return home() / "quarantine"


def runs() -> Path:
    return home() / "runs"


def artifacts() -> Path:
    return home() / "mlartifacts"


def tracking_uri(chosen: str | None = None) -> str:
    """The MLflow store: the one a spec chose, or the environment's, or the SQLite file at home."""
    return chosen or os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{home() / 'mlflow.db'}"


def ledger_url(chosen: str | None = None) -> str:
    """The privacy ledger: the one that was chosen, or the environment's, or the SQLite file at home."""
    return chosen or os.environ.get("FLOCKCAST_LEDGER") or f"sqlite:///{home() / 'ledger.db'}"


def ledger_is_for_tests() -> bool:
    return os.environ.get("FLOCKCAST_LEDGER_MODE", "") == "test"


def ledger_key() -> Path:
    """What anchors are signed with; whoever has it can sign a false one."""
    return home() / "ledger.key"


def anchors() -> Path:
    """Signed heads of the ledger, outside its database: what shows that the end of it was cut off."""
    return home() / "anchors"
