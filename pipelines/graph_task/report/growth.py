"""How much of the network is news: edges between pairs that were never linked before, and edges that come again."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from data.splits import Ranges
from pipelines.report.figures import MOST_POINTS, Figure, numbers, thinned
from pipelines.report.network import NetworkCourse
from pipelines.report.network_figures import boundary, steps_of, times
from pipelines.report.words import percent


@dataclass(frozen=True)
class Growth:
    """Edges of each step: `new` [T] where the pair was never linked before, `repeated` [T] where it was."""

    new: np.ndarray
    repeated: np.ndarray

    def share_of_new(self, first: int, last: int) -> float:
        """Among all edges of the steps `[first, last)`; NaN where there are none."""
        new, all_edges = self.new[first:last].sum(), (self.new + self.repeated)[first:last].sum()
        return float(new / all_edges) if all_edges else float("nan")


def growth(edges: pl.DataFrame, steps: int) -> Growth:
    """`edges` (step, source, target), each once a step."""
    first = edges.group_by("source", "target").agg(pl.col("step").min())["step"].to_numpy()
    new = np.bincount(first, minlength=steps)
    return Growth(new, np.bincount(edges["step"].to_numpy(), minlength=steps) - new)


def growth_figure(found: Growth, course: NetworkCourse, ranges: Ranges) -> Figure:
    """Two areas on top of each other."""
    bounds = thinned(len(found.new) + 1, MOST_POINTS + 1)
    length = np.diff(bounds)
    mean = f" A point is the mean of up to {length.max()} steps." if length.max() > 1 else ""
    areas = {"linked before": (found.repeated, "--bar"), "never linked before": (found.new, "--ours")}
    return Figure(
        name="growth",
        alt="New and repeated edges of each step",
        caption="How to read: the two areas together are the edges of a step; the upper one are pairs that were never "
        "linked before, which no rule that only repeats can foretell. In the first steps everything is new. The dashed "
        "lines are where "
        f"validation and test begin.{mean}",
        height=340,
        traces=[
            _area(name, times(course.clock, bounds[:-1]), np.add.reduceat(edges, bounds[:-1]) / length, colour)
            for name, (edges, colour) in areas.items()
        ],
        layout={
            "xaxis": {"showgrid": False},
            "yaxis": {"title": {"text": "edges"}, "rangemode": "tozero"},
            "shapes": [boundary(times(course.clock, [step])[0]) for step in (ranges.train_end, ranges.validation_end)],
            "showlegend": True,
        },
        narrow={"xaxis": {"nticks": 4}},
    )


def _area(name: str, at: list[Any], edges: np.ndarray, colour: str) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines",
        "name": name,
        "x": at,
        "y": numbers(edges),
        "stackgroup": "edges",
        "fillcolor": colour,
        "line": {"color": colour, "width": 0.5},
        "hovertemplate": "%{x}: %{y:,.4~g}",
    }


def of_growth(found: Growth, ranges: Ranges) -> str:
    """A sentence for the page."""
    shares = {name: found.share_of_new(*steps) for name, steps in steps_of(ranges).items()}
    return (
        f"Of the edges of a training step {percent(shares['training'])} are between pairs that were never linked "
        f"before, of those of a test step {percent(shares['test'])}."
    )
