"""Names of flow runs that read well, and specs that mean the same on every machine's working directory."""

from pathlib import Path

from prefect.runtime import flow_run

from pipelines.spec import bundled_names


def run_name() -> str:
    """`pipeline nyc-green`, also where the spec is a path."""
    return f"{flow_run.flow_name} {Path(flow_run.parameters['spec']).stem}"


def absolute_spec(spec: str) -> str:
    """A path that holds wherever a worker runs; the name of a bundled spec stays."""
    path = Path(spec).expanduser()
    return spec if not path.exists() and spec in bundled_names() else str(path.absolute())
