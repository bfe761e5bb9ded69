"""Our model against the yardsticks: who is ahead, by how much, and whether steadily."""

import math
from dataclasses import dataclass

import numpy as np
import polars as pl

from pipelines.graph_task.evaluate import GraphBacktest
from pipelines.graph_task.tables import ordered
from pipelines.report.comparison import standing
from pipelines.report.words import aligned, model_title, number, percent

METRICS = {
    "map": "MAP",
    "mrr": "MRR",
    "mrr_lower": "MRR if ties are lost",
    "mrr_upper": "MRR if ties are won",
    "mrr_filtered": "MRR, filtered",
    "minority_f1": "F1 of the rare class",
    "micro_f1": "accuracy",
}


@dataclass(frozen=True)
class GraphComparison:
    """By the first metric, of which more is better. `rival` is the best yardstick, if any has a figure."""

    metric: str
    ours: str
    value: float
    rival: str | None
    rival_value: float

    @property
    def gain(self) -> float:
        """The share by which ours is above the rival's: negative when we lose, NaN where that is no number."""
        if self.rival is None or not math.isfinite(self.value):
            return math.nan
        if self.rival_value == 0:
            return 0.0 if self.value == 0 else math.inf
        return self.value / self.rival_value - 1

    @property
    def standing(self) -> str:
        return standing(self.rival, self.gain)


def compare(result: GraphBacktest) -> GraphComparison:
    metric = result.metrics[0]
    rivals = [name for name in ordered(result) if name != result.model and math.isfinite(result.score(name, metric))]
    rival = rivals[0] if rivals else None
    theirs = result.score(rival, metric) if rival else math.nan
    return GraphComparison(metric, result.model, result.score(result.model, metric), rival, theirs)


def headline(result: GraphBacktest) -> str:
    """Whether ours is ahead of every yardstick, by the first metric."""
    found = compare(result)
    reached = f"{model_title(found.ours)} reaches {METRICS[found.metric]} {number(found.value)}"
    if found.rival is None:
        return f"{reached}. No yardstick was run, so nothing says whether that is good."
    rival, theirs = model_title(found.rival), number(found.rival_value)
    match found.standing:
        case "ties":
            return f"{reached}, no better than a yardstick: {rival} has {theirs}."
        case "wins" if math.isfinite(found.gain):
            return f"{reached}, {percent(found.gain)} above the best yardstick, {rival}."
        case "wins":
            return f"{reached}, above the best yardstick, {rival}."
        case _:
            return f"{reached} and loses to a yardstick: {rival} has {theirs}."


# ---------------------------------------------------------------- all models


@dataclass(frozen=True)
class Row:
    """A line of the table. `best` names the metrics in which no model is better."""

    title: str
    is_ours: bool
    cells: dict[str, str]
    best: set[str]


def rows(result: GraphBacktest) -> list[Row]:
    """All models, the best of the first metric first."""
    metrics, models = result.scores.columns[1:], ordered(result)
    scores = {metric: {model: result.score(model, metric) for model in models} for metric in metrics}
    cells = {metric: dict(zip(models, aligned(list(each.values())), strict=True)) for metric, each in scores.items()}
    best = {metric: max(filter(math.isfinite, each.values()), default=None) for metric, each in scores.items()}
    return [
        Row(
            title=model_title(model),
            is_ours=model == result.model,
            cells={metric: cells[metric][model] for metric in metrics},
            best={metric for metric in metrics if scores[metric][model] == best[metric]},
        )
        for model in models
    ]


# ---------------------------------------------------------------- step by step


def course(result: GraphBacktest, model: str) -> np.ndarray:
    """The first metric of `model` at each test step, [S]; NaN where a step says nothing."""
    return result.steps.filter(pl.col("model") == model).sort("step")[result.metrics[0]].to_numpy()


@dataclass(frozen=True)
class Duel:
    """In how many test steps ours is ahead of the best yardstick, and behind it."""

    ahead: int
    behind: int
    even: int

    @property
    def steps(self) -> int:
        return self.ahead + self.behind + self.even

    @property
    def chance(self) -> float:
        """How often coins would fall as unevenly or more so: a two-sided sign test, without the even steps."""
        tossed, most = self.ahead + self.behind, max(self.ahead, self.behind)
        tail = sum(math.comb(tossed, heads) for heads in range(most, tossed + 1)) / 2**tossed
        return min(1.0, 2 * tail)


def duel(result: GraphBacktest, found: GraphComparison) -> Duel | None:
    """None where there is no yardstick, or no step in which both have a figure."""
    if found.rival is None:
        return None
    gap = course(result, found.ours) - course(result, found.rival)
    ahead, behind, even = (int(np.sum(each)) for each in (gap > 0, gap < 0, gap == 0))
    return Duel(ahead, behind, even) if ahead + behind + even else None
