"""The commands of the privacy ledger; like the others they import what they need inside."""

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Optional

import typer

if TYPE_CHECKING:
    from pipelines.privacy.ledger import Ledger
    from pipelines.privacy.ledger.verification import Verification

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="""Privacy budgets: give them, see what is left, and prove to an auditor who spent what.

    A budget belongs to a data set and a unit of privacy, and each day of data (or week, or named span) has all of it to
    itself. A run that would overspend any day it reads is refused before it reads anything. The ledger is only ever
    added to, and every line holds the hash of the one before.
    """,
)

Tenant = Annotated[str, typer.Option(help="Whose data set it is.")]
Actor = Annotated[Optional[str], typer.Option(help="Who does this; the user of this machine by default.")]
Reason = Annotated[str, typer.Option(help="Why; an auditor will read it.", show_default=False)]


@app.command()
def show(
    data_set: Annotated[Optional[str], typer.Argument(help="Only this data set.")] = None,
    tenant: Annotated[Optional[str], typer.Option(help="Only of this tenant.")] = None,
    blocks: Annotated[
        Optional[str], typer.Option(help="Only these blocks, as 2023-01-01..2023-03-31; either end may be left out.")
    ] = None,
) -> None:
    """Say of every budget what is spent, reserved and left.

    Days in a row that the same runs have read share a row. Days that are not listed are untouched.
    """
    from pipelines.errors import PolicyError
    from pipelines.privacy.ledger.blocks import is_range
    from pipelines.privacy.ledger.tell import standing_text

    if blocks is not None and not is_range(blocks):
        raise PolicyError(f"--blocks {blocks!r} names no days; give a day or a range, as 2023-01-01..2023-03-31")
    found = _ledger().standing(tenant=tenant, data_set=data_set, blocks=blocks)
    if data_set and not found:
        raise PolicyError(f"data set {data_set!r} has no budget; `flockcast budget show` lists those that have")
    typer.echo(standing_text(found))
    _require_sound(without_anchors=not _can_be_signed())


@app.command()
def grant(
    data_set: Annotated[str, typer.Argument(help="The data set, by the name of its spec.")],
    unit: Annotated[
        Literal["trip", "window", "slot", "user_day", "user_week", "user"],
        typer.Option(help="Whose data count as one; see above.", show_default=False),
    ],
    epsilon: Annotated[
        float, typer.Option(help="The most that all runs on a block may cost together.", show_default=False)
    ],
    reason: Reason,
    delta: Annotated[
        Optional[float],
        typer.Option(help="Chance of failure; 1e-6 by default, or a tenth of one in --units if that is less."),
    ] = None,
    units: Annotated[
        Optional[int], typer.Option(help="A public lower bound of how many units there are: delta must suit it.")
    ] = None,
    span: Annotated[Optional[str], typer.Option(help="Of unit user: over what time, as 2023.")] = None,
    tenant: Tenant = "default",
    spender: Annotated[
        Optional[list[str]], typer.Option(help="Who may spend it; again for more. Anybody by default.")
    ] = None,
    valid_until: Annotated[Optional[datetime], typer.Option(help="When it ends, in UTC. Never by default.")] = None,
    allow_nonprivate_internal: Annotated[
        bool, typer.Option("--allow-nonprivate-internal", help="Also allow runs without privacy, never served outside.")
    ] = False,
    order: Annotated[
        Optional[float],
        typer.Option(help="Rényi order of the filter that enforces it. The one that admits most by default."),
    ] = None,
    separately: Annotated[
        bool,
        typer.Option("--separately", help="Beside a budget for another unit: spends of one don't count in the other."),
    ] = False,
    actor: Actor = None,
    approver: Annotated[
        Optional[str], typer.Option(help="Who agreed, of a change: somebody other than --actor.", show_default=False)
    ] = None,
) -> None:
    """Give every block of a data set a budget, or change the one it has.

    **Unit** is whose data an attacker could not tell from their absence, the weakest first: `trip` one trip; `window`
    one training sample (a person is in many); `slot` one interval; `user_day`, `user_week` one person's day or week;
    `user` one person over a whole span. The two weakest say little about people; `user_day` suits counts best, and
    needs a person key in the data.

    **Epsilon**: at 1 an attacker who was undecided (50 to 50) whether somebody's data are in can become 73 % sure, at 2
    88 %, at 4 98 %. **Delta** is the chance that this fails; it must be far below one in the number of units.

    A budget can be raised or lowered later, with a reason and an approver. Lowering never frees what is spent.

    `flockcast budget grant bikes --unit user_day --epsilon 2 --reason "releases of 2023, board of 4 May"`
    """
    from pipelines.privacy.ledger.grants import proposed
    from pipelines.privacy.ledger.owner import user
    from pipelines.privacy.ledger.tell import admits_text, standing_text

    policy = proposed(
        tenant=tenant,
        data_set=data_set,
        unit=unit,
        epsilon=epsilon,
        delta=delta,
        order=order,
        span=span,
        units=units,
        spenders=tuple(spender or ()),
        valid_until=valid_until,
        allow_nonprivate_internal=allow_nonprivate_internal,
    )
    ledger = _ledger()
    entry = ledger.grant(policy, actor=actor or user(), reason=reason, approver=approver, separately=separately)
    typer.echo(standing_text([each for each in ledger.standing(data_set=data_set) if each.granted.seq == entry.seq]))
    typer.echo(admits_text(policy))


@app.command()
def explain(
    name: Annotated[
        str, typer.Argument(metavar="MODEL|RUN", help="A registered model, a version as tiny/3, or a run.")
    ],
) -> None:
    """Say what a model cost and why: its guarantee, the mechanism in a sentence, and where its days stand."""
    from pipelines.privacy.ledger.explain import stories
    from pipelines.privacy.ledger.tell import story_text

    typer.echo("\n\n".join(story_text(story) for story in stories(_ledger().entries(), name)))
    _require_sound(without_anchors=not _can_be_signed())


@app.command()
def verify(
    without_anchors: Annotated[
        bool,
        typer.Option(
            "--without-anchors", help="Where key and signed copies are lost: a ledger written anew would pass."
        ),
    ] = False,
) -> None:
    """Work the whole ledger out anew: chain, signatures and every total. Exit code 1 if anything is wrong."""
    found = _require_sound(without_anchors=without_anchors)
    typer.echo(found.sentence)
    for seq in found.overruns:
        typer.echo(f"note: entry {seq} charged more than was reserved; it is counted")


@app.command()
def export(
    how: Annotated[
        Literal["json", "csv", "html"],
        typer.Option("--format", help="json: all, checkable. csv: a row an entry. html: a page to read."),
    ] = "json",
    output: Annotated[
        Optional[Path], typer.Option("--output", "-o", help="The file to write; else it is printed.")
    ] = None,
    actor: Actor = None,
) -> None:
    """Write the ledger for an auditor, with a signed anchor that says how long it is. Keep a copy elsewhere."""
    from pipelines.errors import PolicyError
    from pipelines.privacy.ledger.export import export as written

    if output is not None and not output.absolute().parent.is_dir():
        raise PolicyError(f"there is no folder {output.parent} to write {output.name} to; make it first")
    text = written(_ledger(), how, actor=actor)
    if output is None:
        typer.echo(text, nl=False)
    else:
        output.write_text(text, encoding="utf-8")
        typer.echo(f"wrote {output}")


@app.command()
def reap(
    gone: Annotated[
        Optional[list[str]], typer.Option(help="A machine that is gone for good, for which you vouch; again for more.")
    ] = None,
) -> None:
    """Settle runs whose process has ended without a word, at all that they may have spent.

    Of this machine's processes the ledger sees that for itself, and does so before every reservation.
    """
    settled = _ledger().reap(gone=tuple(gone or ()))
    for entry in settled:
        what = "given back, it had not begun" if entry.type == "release" else "charged for what it had announced"
        typer.echo(f"{entry.get('run_id')}: {what} (entry {entry.seq})")
    if not settled:
        typer.echo("no run is left over")


@app.command("correct-clock")
def correct_clock(
    reason: Reason,
    approver: Annotated[str, typer.Option(help="Who agreed: somebody other than --actor.", show_default=False)],
    actor: Actor = None,
) -> None:
    """Go on at the present time after a clock that ran ahead has dated entries into the future.

    Look at the machine's clock first: if it is this one that is wrong, set it right instead.
    """
    from pipelines.privacy.ledger.owner import user

    entry = _ledger().correct_clock(actor=actor or user(), reason=reason, approver=approver)
    typer.echo(
        f"the ledger goes on at {entry.time} (entry {entry.seq}); before it, entries are dated to {entry.get('newest')}"
    )


def _require_sound(*, without_anchors: bool = False) -> "Verification":
    """What verification found. Raises LedgerError for a ledger that does not verify."""
    from pipelines.errors import LedgerError

    found = _ledger().verify(without_anchors=without_anchors)
    if not found.holds:
        raise LedgerError(found.sentence)
    return found


def _can_be_signed() -> bool:
    """Whether this machine has signed copies; one that only looks at a shared ledger has none."""
    from pipelines.settings import anchors

    return anchors().exists()


def _ledger() -> "Ledger":
    from pipelines.privacy.ledger import Ledger

    return Ledger.open()
