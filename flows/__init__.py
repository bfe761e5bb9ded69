"""Prefect flows over the steps of `pipelines`.

Prefect reads its settings when it is imported, and a worker imports `flows.pipeline` by name without our command line.
So the settings are made here, where every way to a flow passes before Prefect, MLflow and torch load.
"""

from pipelines.settings import apply_environment

apply_environment()
