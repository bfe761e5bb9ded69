"""The ledger in words, for a terminal."""

from collections.abc import Iterable, Sequence

from rich import box
from rich.table import Table

from pipelines.privacy import accounting
from pipelines.privacy.claim import rounded_up
from pipelines.privacy.ledger.explain import Story
from pipelines.privacy.ledger.offers import admits
from pipelines.privacy.ledger.records import Policy
from pipelines.privacy.ledger.standing import Row, Standing
from pipelines.tables import drawn

MOST_RUNS = 3
NONE_YET = "no data set has a budget yet; `flockcast budget grant --help` tells how to give one"


def standing_text(standings: Sequence[Standing]) -> str:
    """Per data set and unit: the promise, then a row per range of blocks that saw the same runs."""
    return "\n\n".join(_one(standing) for standing in standings) or NONE_YET


def _one(standing: Standing) -> str:
    policy, granted = standing.policy, standing.granted
    head = f"{policy.data_set} of {policy.tenant}, unit {policy.unit}\n{standing.sentence}\n{_terms(standing)}"
    head += f"\n{standing.beside}" if standing.beside else ""
    if not standing.rows and any(run.counted for run in standing.runs):
        return f"{head}\nnothing is spent or reserved of the blocks that were asked for; of others there is"
    if not standing.rows:
        return f"{head}\nnothing is spent or reserved; every block has all of it (entry {granted.seq})"
    table = Table(
        box=box.SIMPLE_HEAD,
        caption=(
            f"epsilon of unit {policy.unit} at delta {policy.delta:.3g}, by {accounting.ACCOUNTANT}; "
            "left: of the filter, which is stricter"
        ),
    )
    for column in ("blocks", "cap", "spent", "with reserved", "left", "runs"):
        table.add_column(column, justify="left" if column in ("blocks", "runs") else "right")
    for row in standing.rows:
        table.add_row(row.blocks, f"{policy.epsilon:g}", *figures(row), _runs(row.runs))
    return f"{head}\n{drawn(table)}"


def figures(row: Row) -> tuple[str, str, str]:
    """Spent and reserved rounded up, left rounded down."""
    return rounded_up(float(row.spent)), rounded_up(float(row.with_reserved)), f"{int(row.left * 100)} %"


def _terms(standing: Standing) -> str:
    policy, granted = standing.policy, standing.granted
    who = f"; spent by {', '.join(policy.spenders)} alone" if policy.spenders else ""
    until = f"; until {policy.valid_until:%Y-%m-%d %H:%M %Z}" if policy.valid_until else ""
    inside = "; runs without privacy are allowed inside the house" if policy.allow_nonprivate_internal else ""
    approver = f", approved by {granted.get('approver')}" if granted.get("approver") else ""
    said = f"granted {granted.time[:10]} by {granted.get('actor')}{approver}: {granted.get('reason')}"
    return f"{said} (entry {granted.seq}){who}{until}{inside}"


def _runs(runs: Iterable[str]) -> str:
    named = list(runs)
    more = f" and {len(named) - MOST_RUNS} more" if len(named) > MOST_RUNS else ""
    return ", ".join(named[:MOST_RUNS]) + more


def admits_text(policy: Policy) -> str:
    """What a new budget has room for, in things that people ask for."""
    lines = [f"  {line}" for line in admits(policy)]
    return "\n".join(["each block has room for one of these, for example:", *lines])


def story_text(story: Story) -> str:
    """What one run cost, of whom, and why that much."""
    lines = [f"run {story.run.run_id}: {story.run.state}", story.sentence, f"how: {story.mechanism}", *story.details]
    table = Table(box=box.SIMPLE_HEAD, caption=story.caption)
    for column in ("blocks", "all runs together", "of a cap of"):
        table.add_column(column, justify="left" if column == "blocks" else "right")
    for blocks, epsilon in story.blocks:
        table.add_row(blocks, rounded_up(float(epsilon)), story.cap)
    return "\n".join([*lines, drawn(table), story.place])
