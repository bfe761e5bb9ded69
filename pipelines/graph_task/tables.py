"""The figures of a graph task as a table for a terminal."""

import math

from rich import box
from rich.table import Table

from pipelines.graph_task.evaluate import GraphBacktest
from pipelines.tables import drawn


def ordered(result: GraphBacktest) -> list[str]:
    """The models, the best of the first metric first."""
    metric = result.metrics[0]
    values = {model: result.score(model, metric) for model in result.scores["model"]}
    return sorted(values, key=lambda model: -math.inf if math.isnan(values[model]) else values[model], reverse=True)


def graph_table(result: GraphBacktest) -> str:
    """Every model, the best first, ours marked; then how it was measured."""
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("model")
    columns = [name for name in result.scores.columns if name != "model"]
    for name in columns:
        table.add_column(name, justify="right")
    for model in ordered(result):
        ours = model == result.model
        figures = [f"{result.score(model, name):.4f}" for name in columns]
        table.add_row(f"{model} *" if ours else model, *figures, style="bold" if ours else None)
    return f"{drawn(table)}\n* ours\n{result.protocol}"
