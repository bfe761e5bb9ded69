"""`flockcast audit`; like the others it imports what it needs inside."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Literal, Optional

import typer

SpecPath = Annotated[
    str, typer.Argument(metavar="SPEC", help="A TOML file, or the name of a bundled spec.", show_default=False)
]


def audit(
    spec: SpecPath,
    kind: Annotated[
        Literal["auto", "one-run", "release", "step", "membership"],
        typer.Option(
            help="one-run: train once among canaries and guess which were in. release: the same of the counts, "
            "with persons who do not exist, and ten thousand draws of its noise. step: the private step alone, without "
            "data. membership: figures of attacks on a training without privacy. auto: release or one-run."
        ),
    ] = "auto",
    canaries: Annotated[
        Optional[int],
        typer.Option(min=20, help="How many; 1000 by default, or as many spikes as fit. More can refute more."),
    ] = None,
    guesses: Annotated[
        Optional[int],
        typer.Option(min=2, help="How many of them are guessed, half in and half out; one in five by default."),
    ] = None,
    cron: Annotated[
        Optional[str],
        typer.Option(help='Do it by the clock instead, as "0 4 1 * *": at four on the first of each month.'),
    ] = None,
    timezone: Annotated[str, typer.Option(help="Whose clock the cron line goes by.")] = "UTC",
) -> None:
    """Try to refute what a spec claims about privacy; exit code 1 if that succeeds.

    An epsilon is a promise about code, and code may be wrong: clipping that is off, noise that is too small, a bound
    that nobody applies. So this puts in canaries, each by the flip of a coin, runs the code of production once, and
    guesses from what comes out which of them were in. Too many right guesses refute the claim. Too few prove nothing:
    the bound is a lower one, and the audit says how much it could have refuted at best.

    What will be guessed is written to the ledger first, because a bound of one's own choosing afterwards refutes too
    often. One-run is a real private training and is charged like one (its network is thrown away, for canaries are junk
    to learn from); release and step read nobody's data and cost nothing. Without [privacy], one-run is a control:
    its bound shows what the audit sees where nothing is hidden.

    `flockcast audit mine.toml --canaries 1000 --guesses 200`
    """
    from pipelines.spec import load_spec

    chosen = load_spec(spec)
    if cron is not None:
        from flows.audit import audit as by_the_clock
        from flows.schedule import schedule

        name = f"{chosen.name}-audit"
        told = schedule(
            spec, cron, timezone, name=name, flow=by_the_clock, kind=kind, canaries=canaries, guesses=guesses
        )
        typer.echo(told)
        return
    from pipelines.privacy.audit.experiment import audit as carry_out
    from pipelines.privacy.audit.experiment import record, require_holds
    from pipelines.spec import Spec

    with telling(f"auditing {chosen.name}") as say:
        report = carry_out(chosen, kind=kind, canaries=canaries, guesses=guesses, say=say)
    typer.echo(report.table)
    assert isinstance(chosen, Spec)  # the audit has refused graphs
    record(report, chosen, say=typer.echo)
    require_holds(report)


@contextmanager
def telling(what: str) -> Iterator[Callable[[str], None]]:
    """On a terminal a bar that says what is done now and since when; elsewhere a line for each."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        yield typer.echo
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TextColumn("{task.fields[now]}"))
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(what, total=None, now="")
        yield lambda line: bar.update(task, now=line.splitlines()[0][:80])
