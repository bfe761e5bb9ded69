"""The norm of the weights that a recurrent cell evolves, step by step: whether they shrink, grow or settle."""

from typing import Any

import numpy as np

from pipelines.report.figures import DASHES, MOST_POINTS, Figure, numbers, thinned
from pipelines.report.words import chart_text, percent, plural, shorten


def weight_figure(norms: np.ndarray, names: tuple[str, ...]) -> Figure:
    """Norms [L, K + 1] of the weights of L layers, called `names`: column 0 is the start, W_0, column k after k steps.

    Raises ValueError where there are not as many names as rows, or no step.
    """
    _require_steps(norms, names)
    keep = thinned(norms.shape[1], MOST_POINTS)
    return Figure(
        name="weights",
        alt="Norm of the evolved weight of each layer by step",
        caption="How to read: a line is the size (Frobenius norm) of a layer's weight after each step of the graph; "
        "the thin dotted line is its size at the start, as it was learned. A line that falls towards nothing is a "
        "layer that forgets its weight, one that stays level hardly evolves.",
        height=320,
        traces=[_line(norms[place, keep], keep, name, place) for place, name in enumerate(names)],
        layout={
            "xaxis": {"title": {"text": "steps since the start"}, "showgrid": False, **_ticks(norms.shape[1])},
            "yaxis": {"title": {"text": "norm of the weight"}, "rangemode": "tozero"},
            "shapes": [_start(float(norms[place, 0]), place) for place in range(len(names))],
            "showlegend": True,
            "legend": {"traceorder": "normal"},
        },
        narrow={"height": 360},
    )


def of_weights(norms: np.ndarray, names: tuple[str, ...]) -> str:
    """A sentence for the page: which share of its start each layer's weight has after the last step."""
    _require_steps(norms, names)
    shares = [percent(float(row[-1] / row[0])) if row[0] else "–" for row in norms]
    each = ", ".join(f"{shorten(name, 40)} {share}" for name, share in zip(names, shares, strict=True))
    return f"After {plural(norms.shape[1] - 1, 'step')} the weights have, of their size at the start: {each}."


def _require_steps(norms: np.ndarray, names: tuple[str, ...]) -> None:
    if norms.ndim != 2 or len(norms) != len(names) or norms.shape[1] < 2:
        raise ValueError(
            f"norms have the shape {list(norms.shape)} and there are {len(names)} names; they must be "
            "[layers, 1 + steps], a row for each name and a column for the start and each step"
        )


def _colour(place: int) -> str:
    return "--ours" if place == 0 else f"--line-{(place - 1) % 6 + 1}"


def _line(norms: np.ndarray, steps: np.ndarray, name: str, place: int) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines+markers" if len(steps) < 60 else "lines",
        "name": chart_text(name),
        "x": steps.tolist(),
        "y": numbers(norms),
        "line": {"color": _colour(place), "width": 2.25, "dash": DASHES[place % len(DASHES)]},
        "marker": {"size": 5},
        "hovertemplate": "after %{x} steps: %{y:.4~g}",
    }


def _start(norm: float, place: int) -> dict[str, Any]:
    line = {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": norm, "y1": norm}
    return {**line, "line": {"color": _colour(place), "width": 1, "dash": "dot"}}


def _ticks(columns: int) -> dict[str, Any]:
    return {"dtick": 1} if columns <= 10 else {}
