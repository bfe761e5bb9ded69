"""What a run shows in Prefect beside its log: tables, where the results are, a bar. Outside a run nothing is shown."""

from pathlib import Path
from uuid import UUID

from prefect.artifacts import (
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.context import FlowRunContext, TaskRunContext

from pipelines.kinds import AnyBacktest, AnyForecast, AnyManifest, figures_of
from pipelines.privacy.told import claim_of
from pipelines.results import Registered

Row = dict[str, str]


def in_a_run() -> bool:
    return FlowRunContext.get() is not None or TaskRunContext.get() is not None


def key(name: str, what: str) -> str:
    """Prefect takes lower-case letters, digits and dashes."""
    return f"{name.replace('_', '-')}-{what}"


class Progress:
    """A bar over the steps of a flow."""

    def __init__(self, name: str, steps: tuple[str, ...]) -> None:
        self.steps, self.done = steps, 0
        self.artifact: UUID | None = None
        if in_a_run():
            self.artifact = create_progress_artifact(0, key(name, "progress"), f"first: {steps[0]}")

    def advance(self) -> None:
        """One step more is done."""
        self.done += 1
        left = self.steps[self.done :]
        if self.artifact is not None:
            share = 100 * self.done / len(self.steps)
            update_progress_artifact(self.artifact, share, f"next: {left[0]}" if left else "done")


def show_data_quality(manifest: AnyManifest) -> None:
    if in_a_run():
        what = f"What became of every row of {manifest.name} {manifest.version}"
        create_table_artifact(quality_rows(manifest), key(manifest.name, "data-quality"), what)


def show_yardsticks(name: str, result: AnyBacktest) -> None:
    if in_a_run():
        create_table_artifact(yardstick_rows(result), key(name, "yardsticks"), result.protocol)


def show_results(name: str, registered: Registered, found: AnyForecast, report: Path, forecast: Path) -> None:
    if in_a_run():
        create_markdown_artifact(result_page(registered, found, report, forecast), key(name, "results"))


def quality_rows(manifest: AnyManifest) -> list[Row]:
    """Rows read, used, and rejected or changed by reason; shares are of the rows read."""
    claim = claim_of(manifest)
    if claim is not None:
        return [{"rows": "not told: the counts were released privately", "count": "", "share": claim.sentence}]
    counts = {"read": manifest.rows_read, "used": manifest.rows_used}
    counts |= {f"rejected: {reason}": count for reason, count in manifest.rejected.items()}
    counts |= {f"note: {note}": count for note, count in manifest.notes.items()}
    whole = max(manifest.rows_read, 1)
    return [{"rows": what, "count": f"{count:,}", "share": f"{count / whole:.2%}"} for what, count in counts.items()]


def yardstick_rows(result: AnyBacktest) -> list[Row]:
    """One row a model, the best first, ours marked with a star."""
    return [
        {"model": f"{model} *" if model == result.model else model}
        | {metric.upper(): f"{value:.4g}" for metric, value in figures.items()}
        for model, figures in figures_of(result).items()
    ]


def result_page(registered: Registered, found: AnyForecast, report: Path, forecast: Path) -> str:
    """Paths, not links: a browser does not follow a link from a server's page to a file of this machine."""
    marked = f", {found.mark.text}. {found.mark.claim}" if found.mark else ""
    return (
        f"**{registered.name} version {registered.version}**, {registered.reason}\n\n"
        f"Forecast of {found.model} version {found.version} from {found.known_until}: "
        f"`{forecast}`{marked}\n\n"
        f"Report: `{report}`, also beside the MLflow run `{registered.run_id}`\n"
    )
