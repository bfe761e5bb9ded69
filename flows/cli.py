"""The command line. Every command imports what it needs inside, so that `--help` answers at once."""

import errno
import sys
import tomllib
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Literal, Optional

import typer

from flows.cli_audit import audit
from flows.cli_budget import app as budget_app
from flows.cli_synthetic import app as synthetic_app
from pipelines.settings import apply_environment

app = typer.Typer(
    name="flockcast",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="""Forecast flows and series that move together.

    One TOML file describes an experiment. A first run, on real data that comes along:

    `flockcast run nyc-green`

    Your own data: `flockcast init`, edit the column mapping, `flockcast run flockcast.toml`.
    """,
)
models_app = typer.Typer(
    no_args_is_help=False, help="List, promote and roll back registered models; show the card of one."
)
app.add_typer(models_app, name="models", invoke_without_command=True, rich_help_panel="Serving")
app.add_typer(synthetic_app, name="synthetic", rich_help_panel="Experiments")
app.add_typer(budget_app, name="budget", rich_help_panel="Privacy")
app.command(rich_help_panel="Privacy")(audit)

STOPPED = "stopped; what was trained so far is kept, and the same command goes on from there"
FREE_SPACE = "; free some space, or choose another FLOCKCAST_HOME"

SpecPath = Annotated[
    str, typer.Argument(metavar="SPEC", help="A TOML file, or the name of a bundled spec.", show_default=False)
]


def main() -> None:
    """Run the command line; what a person can mend is one message and exit code 1 or 2, never a traceback."""
    apply_environment()
    try:
        app()
    except KeyboardInterrupt:
        _fail(STOPPED, 130)
    except SystemExit as left:  # typer makes one of Ctrl-C, and says nothing
        if left.code == 130:
            _fail(STOPPED, 130)
        raise
    except BrokenPipeError:
        sys.exit(141)
    except Exception as error:
        code = _exit_code(error)
        if code is None:
            raise
        _fail(str(error) + (FREE_SPACE if _disk_is_full(error) else ""), code)


def _disk_is_full(error: Exception) -> bool:
    return isinstance(error, OSError) and error.errno == errno.ENOSPC


def _exit_code(error: Exception) -> int | None:
    """The exit code of an error that has a message for a person; None for a bug, which deserves its traceback."""
    from data.errors import DataError
    from pipelines.errors import FlockcastError

    if isinstance(error, (FlockcastError, DataError)):
        return int(getattr(error, "exit_code", 2))
    a_file = isinstance(error, OSError) and error.filename is not None
    return 1 if a_file or _disk_is_full(error) else None


def _fail(message: str, code: int) -> None:
    typer.echo(f"error: {message}", err=True)
    sys.exit(code)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"flockcast {version('flockcast')}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say the version and stop.")
    ] = False,
) -> None:
    pass


@app.command(rich_help_panel="Experiments")
def init(
    path: Annotated[Path, typer.Argument(help="Where to write it.")] = Path("flockcast.toml"),
    kind: Annotated[
        Literal["long", "wide", "trips", "od", "edges"],
        typer.Option(
            help="long: a row per series and time. wide: a column per series. trips, od: flows between zones. "
            "edges: a graph that changes, for tasks on its links and classes."
        ),
    ] = "long",
    data: Annotated[str, typer.Option(help="The data file or a glob of files, relative to the spec.")] = "data.csv",
    timezone: Annotated[str, typer.Option(help="Time zone of times without an offset.")] = "UTC",
    force: Annotated[bool, typer.Option("--force", help="Overwrite a file that exists.")] = False,
) -> None:
    """Write a commented spec to start from."""
    from pipelines.errors import SpecError
    from pipelines.graph_task.template import graph_template
    from pipelines.spec import parse_any
    from pipelines.template import spec_template

    if path.exists() and not force:
        raise SpecError(f"{path} exists; choose another name, or --force to overwrite it")
    name = _slug(path.stem if path.stem != "flockcast" else path.absolute().parent.name)
    given = {"name": name, "files": data, "timezone": timezone, "file": str(path)}
    text = graph_template(**given) if kind == "edges" else spec_template(kind, **given)
    parse_any(tomllib.loads(text), folder=path.parent, called="init")  # a wrong time zone is told now, not later
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise SpecError(f"can't write {path}: {error.strerror}") from None
    typer.echo(f"wrote {path}: edit [data] and its columns, then `flockcast check {path}` and `flockcast run {path}`")


def _slug(word: str) -> str:
    kept = "".join(c if c.isascii() and c.isalnum() else "-" for c in word.lower()).strip("-")
    return kept[:60] or "experiment"


@app.command(rich_help_panel="Experiments")
def specs() -> None:
    """List the bundled specs, each with real data."""
    from pipelines.spec import bundled_names, load_spec

    for name in bundled_names():
        typer.echo(f"{name:<14} {load_spec(name).description}")


@app.command(rich_help_panel="Experiments")
def check(spec: SpecPath) -> None:
    """Read a spec and its data, and say what a run would do; nothing is trained, and no privacy budget is spent."""
    from pipelines.kinds import steps_of
    from pipelines.spec import load_spec

    chosen = load_spec(spec)
    steps = steps_of(chosen)
    if cost := steps.quote(chosen):
        typer.echo(cost)
        return
    dataset, _ = steps.ingest(chosen, say=typer.echo)
    typer.echo(steps.outlook(chosen, dataset))


@app.command(rich_help_panel="Experiments")
def ingest(
    spec: SpecPath,
    fresh: Annotated[bool, typer.Option("--fresh", help="Read the sources anew even if nothing changed.")] = False,
) -> None:
    """Read the sources into the data-set store, and say what became of every row."""
    from pipelines.kinds import steps_of
    from pipelines.spec import load_spec

    chosen = load_spec(spec)
    steps = steps_of(chosen)
    dataset, _ = steps.ingest(chosen, fresh=fresh, say=typer.echo)
    typer.echo(steps.describe(dataset.manifest))


@app.command(rich_help_panel="Experiments")
def train(spec: SpecPath) -> None:
    """Ingest, train, and judge in a backtest; nothing is registered. Goes on where a stopped training was."""
    from pipelines.kinds import steps_of
    from pipelines.spec import load_spec

    chosen = load_spec(spec)
    steps = steps_of(chosen)
    dataset, _ = steps.ingest(chosen, say=typer.echo)
    typer.echo(steps.table(steps.train(chosen, dataset, say=typer.echo)))


@app.command(rich_help_panel="Experiments")
def run(spec: SpecPath) -> None:
    """The main job as a Prefect flow: ingest, train, judge, register, forecast, and a report to look at.

    What has not changed since the last run is re-used, and the run says so.
    """
    from pipelines.spec import load_spec

    load_spec(spec)  # a mistake in the spec should not wait for a server to start
    from flows.pipeline import pipeline
    from flows.server import reach_server

    reach_server(typer.echo)
    pipeline(spec)


@app.command(rich_help_panel="Serving")
def forecast(
    spec: SpecPath,
    output: Annotated[Path, typer.Option("--output", "-o", help="The Parquet file to write.")] = Path(
        "forecast.parquet"
    ),
    horizon: Annotated[Optional[int], typer.Option(help="Steps ahead; all that the model can by default.")] = None,
    node: Annotated[
        Optional[list[str]], typer.Option(help="A node to forecast; again for more. All by default.")
    ] = None,
    quantile: Annotated[Optional[list[float]], typer.Option(help="A quantile to write; again for more.")] = None,
    internal: Annotated[
        bool,
        typer.Option(
            "--internal",
            help="The file stays in the house. Of a private model that reads raw counts, nothing else may leave "
            "FLOCKCAST_HOME.",
        ),
    ] = False,
) -> None:
    """Write the champion's forecast from the newest data as Parquet."""
    from pipelines.experiment import save_forecast
    from pipelines.kinds import steps_of
    from pipelines.spec import load_spec

    chosen = load_spec(spec)
    steps = steps_of(chosen)
    asked = {"horizon": horizon, "nodes": node, "quantiles": quantile}
    asked = {name: value for name, value in asked.items() if value is not None}
    steps.check_forecast(asked)  # before any work
    dataset, _ = steps.ingest(chosen, say=typer.echo)
    found = steps.forecast(chosen, dataset, **asked)
    save_forecast(found, output, internal=internal)
    typer.echo(
        f"wrote {output}: {len(found.frame):,} rows, {found.model} version {found.version}, from {found.known_until}"
        + (f"; {found.mark.text}" if found.mark else "")
    )


@app.command(rich_help_panel="Serving")
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.", min=1, max=65535)] = 8000,
) -> None:
    """Answer POST /v1/forecasts with the champion of each registered model."""
    from pipelines.serve import serve as listen

    with suppress(KeyboardInterrupt):  # how a server is stopped
        listen(host=host, port=port)


@app.command(rich_help_panel="Serving")
def schedule(
    spec: SpecPath,
    cron: Annotated[
        str, typer.Option(help='When to run: minute hour day month weekday, as "0 5 * * *".', show_default=False)
    ],
    timezone: Annotated[str, typer.Option(help="Whose clock the cron line goes by.")] = "UTC",
) -> None:
    """Register the main job with a Prefect server to run by the clock."""
    from flows.schedule import schedule as register
    from pipelines.spec import load_spec

    load_spec(spec)
    typer.echo(register(spec, cron, timezone))


@app.command(rich_help_panel="Serving")
def schedules() -> None:
    """List what runs by the clock, and when next."""
    from flows.schedule import scheduled

    rows = scheduled()
    for row in rows:
        typer.echo(
            f"{row.name:<20} {row.cron:<16} {row.timezone:<20} next {row.next_run or 'not planned yet'}  {row.spec}"
        )
    if not rows:
        typer.echo("nothing runs by the clock; `flockcast schedule SPEC --cron '0 5 * * *'` makes it")


@app.command(rich_help_panel="Serving")
def unschedule(
    name: Annotated[str, typer.Argument(help="The schedule's name, as `flockcast schedules` shows it.")],
) -> None:
    """Take a schedule and its planned runs off the Prefect server."""
    from flows.schedule import unschedule as remove

    remove(name)
    typer.echo(f"{name} no longer runs by the clock")


@models_app.callback()
def models(
    context: typer.Context,
    name: Annotated[Optional[str], typer.Option(help="Only this model.")] = None,
) -> None:
    """List registered versions; promote or roll back one."""
    if context.invoked_subcommand is None:
        from pipelines.errors import RegistryError
        from pipelines.registry import versions
        from pipelines.tables import version_table

        found = versions(name)
        if name and not found:
            raise RegistryError(f"no model is called {name}; `flockcast models` lists them all")
        typer.echo(version_table(found))


@models_app.command()
def promote(name: Annotated[str, typer.Argument()], version: Annotated[str, typer.Argument()]) -> None:
    """Make a version champion by hand."""
    from pipelines.registry import promote as crown

    typer.echo(crown(name, version))


@models_app.command()
def card(
    model: Annotated[str, typer.Argument(metavar="NAME[@VERSION]", help="The champion, where no version is named.")],
) -> None:
    """What is promised of a model's privacy, what is not, and where to check that."""
    from pipelines.model_card import registered_card

    typer.echo(registered_card(model))


@models_app.command()
def rollback(name: Annotated[str, typer.Argument()]) -> None:
    """Give the crown back to the champion before the present one."""
    from pipelines.registry import roll_back

    typer.echo(roll_back(name))
