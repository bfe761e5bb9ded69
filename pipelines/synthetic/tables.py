"""What came out of a synthetic task, for a terminal."""

from statistics import mean, stdev

import polars as pl
from rich import box
from rich.table import Table

from data.pna_multitask import TASKS
from pipelines.synthetic.pna import AVERAGE
from pipelines.tables import drawn


def set_table(scores: pl.DataFrame) -> str:
    """Accuracy by size, over the seeds, in the order as drawn and over the others."""
    table = Table(box=box.SIMPLE_HEAD)
    for column in ("size", "accuracy", "in other orders", "lowest", "highest"):
        table.add_column(column, justify="right")
    for (size,), rows in scores.group_by("size", maintain_order=True):
        ours, others = _spread(rows["accuracy"], 3), _spread(rows["orders_mean"], 3)
        table.add_row(str(size), ours, others, *_extremes(rows))
    return f"{drawn(table)}\n{_seeds(scores)}"


def task_table(scores: pl.DataFrame) -> str:
    """log10 of the mean squared error by test range and task, over the seeds, beside that of the training mean."""
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("sizes")
    for task in (AVERAGE, *TASKS):
        table.add_column(task.replace("_", "\n"), justify="right")
    for (sizes,), rows in scores.group_by("sizes", maintain_order=True):
        by_task = {task: rows.filter(pl.col("task") == task) for task in (AVERAGE, *TASKS)}
        table.add_row(str(sizes), *(_spread(part["log10_mse"], 2) for part in by_task.values()))
        table.add_row("  the mean", *(f"{part['log10_mse_of_mean'][0]:.2f}" for part in by_task.values()))
    own = scores.filter((pl.col("task") == AVERAGE) & pl.col("orders_lowest").is_finite())
    apart = " to ".join(_extremes(own))
    return f"{drawn(table)}\nlog10 of the mean squared error; average in other orders {apart}; {_seeds(scores)}"


def _spread(values: pl.Series, digits: int) -> str:
    figures = values.to_list()
    apart = f" ± {stdev(figures):.{digits}f}" if len(figures) > 1 else ""
    return f"{mean(figures):.{digits}f}{apart}"


def _extremes(rows: pl.DataFrame) -> tuple[str, str]:
    return f"{min(rows['orders_lowest'].to_list()):.3f}", f"{max(rows['orders_highest'].to_list()):.3f}"


def _seeds(scores: pl.DataFrame) -> str:
    seeds = scores["seed"].n_unique()
    return f"{seeds} seed{'s' if seeds > 1 else ''}"
