"""Tables for a terminal."""

import io

import polars as pl
from rich import box
from rich.console import Console
from rich.table import Table

from pipelines.flow_metrics import TOTALS
from pipelines.registry import Version
from pipelines.results import Backtest

SHOWN = ("mae", "rmse", "node_rmse", "mape", "smape", "mase", "msle", "cpc")
SOMETIMES = {"msle", "cpc"}  # of counts, of flows


def score_table(result: Backtest) -> str:
    """Every model of a backtest, the best MAE first, ours marked; then how the intervals held, and the protocol.

    Of flows, the MAE of each node's outflow and inflow stands beside them: the sums of the pairs' forecasts.
    """
    total = result.scores.filter((pl.col("horizon") == 0) & (pl.col("variable") == "all")).sort("mae", nulls_last=True)
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("model")
    shown = [metric for metric in SHOWN if metric not in SOMETIMES or total[metric].is_finite().any()]
    sums = list(TOTALS) if result.are_flows else []
    for metric in [*shown, *(f"{name}\nmae" for name in sums)]:
        table.add_column(metric, justify="right")
    for row in total.iter_rows(named=True):
        ours = row["model"] == result.model
        figures = [f"{row[m]:.1%}" if m.endswith("mape") else f"{row[m]:,.4g}" for m in shown]
        figures += [f"{result.total(row['model'], 'mae', name):,.4g}" for name in sums]
        table.add_row(f"{row['model']} *" if ours else row["model"], *figures, style="bold" if ours else None)
    held = ", ".join(f"{found.coverage:.1%} ({name})" for name, found in result.intervals.items())
    level = next(iter(result.intervals.values())).level
    return f"{drawn(table)}\n* ours; {level:.0%} intervals held {held}\n{result.protocol}"


def version_table(rows: list[Version]) -> str:
    if not rows:
        return "no model is registered yet; `flockcast run nyc-green` trains a first one"
    table = Table(box=box.SIMPLE_HEAD)
    for column in ("name", "version", "alias", "model", "score", "data set", "created"):
        table.add_column(column)
    table.add_column("privacy", no_wrap=True)  # a phrase that is torn apart could be quoted in part
    for row in rows:
        created = f"{row.created:%Y-%m-%d %H:%M} UTC"
        score = f"{row.score} (raw)" if row.scores_are_raw else row.score
        named = row.name, row.version, ", ".join(row.aliases), row.model, score, row.dataset_version, created
        table.add_row(*named, row.privacy)
    return drawn(table, width=120 + max(len(row.privacy) for row in rows))


def drawn(table: Table, *, width: int = 120) -> str:
    text = io.StringIO()
    Console(file=text, width=width, no_color=True).print(table)
    return "\n".join(line.rstrip() for line in text.getvalue().strip("\n").splitlines())
