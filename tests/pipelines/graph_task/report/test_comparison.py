"""Who is ahead, by how much, and how surely."""

import math
from itertools import product

import pandas as pd
import polars as pl
import pytest

from pipelines.graph_task.evaluate import GraphBacktest
from pipelines.graph_task.report.comparison import Duel, compare, duel, headline, rows
from pipelines.graph_task.report.findings import of_steps
from pipelines.graph_task.report.score_figures import scores_figure, steps_figure

OURS = "evolvegcn-h+memory"
CLOCK = pd.Index(range(10, 30))


def result(courses: dict[str, list[float]], *, metrics: tuple[str, ...] = ("map", "mrr")) -> GraphBacktest:
    """The first of these models is ours; the second metric is 1 minus the first."""
    known = {name: [value for value in course if not math.isnan(value)] for name, course in courses.items()}
    means = {name: sum(each) / len(each) if each else math.nan for name, each in known.items()}
    first, second = metrics
    return GraphBacktest(
        "protocol",
        next(iter(courses)),
        metrics,
        pl.DataFrame([{"model": name, first: mean, second: 1 - mean} for name, mean in means.items()]),
        pl.DataFrame(
            [
                {"step": 15 + step, "model": name, first: value, second: 1 - value}
                for name, course in courses.items()
                for step, value in enumerate(course)
            ]
        ),
    )


@pytest.mark.parametrize(
    ("ours", "best", "standing", "words"),
    [
        (0.6, 0.5, "wins", "EvolveGCN-H with memory of pairs reaches MAP 0.600, 20 % above the best yardstick, Repeat"),
        (0.5, 0.5, "ties", "no better than a yardstick: Repeat has 0.500"),
        (0.4, 0.5, "loses", "loses to a yardstick: Repeat has 0.500"),
        (math.nan, 0.5, "loses", "reaches MAP – and loses to a yardstick: Repeat has 0.500"),
        (0.4, 0.0, "wins", "above the best yardstick"),
    ],
)
def test_the_headline_says_plainly_who_is_better(ours: float, best: float, standing: str, words: str) -> None:
    found = result({OURS: [ours], "activity": [best / 2], "repeat": [best]})
    assert compare(found).standing == standing
    assert words in headline(found).replace("\u00a0", " ")


def test_a_yardstick_without_a_figure_is_no_rival() -> None:
    found = result({OURS: [0.4], "gcn": [math.nan]})
    assert compare(found).standing == "alone"
    assert "No yardstick" in headline(found)


def test_the_table_has_every_model_the_best_first_and_the_best_of_each_column() -> None:
    first, second, last = rows(result({OURS: [0.25], "repeat": [0.5], "gcn": [math.nan]}))
    assert [row.title for row in (first, second, last)] == ["Repeat", "EvolveGCN-H with memory of pairs", "Static GCN"]
    assert [row.is_ours for row in (first, second, last)] == [False, True, False]
    assert (first.best, second.best, last.best) == ({"map"}, {"mrr"}, set())
    assert (second.cells["map"], last.cells["map"]) == ("0.250", "–")


def test_steps_are_counted_where_both_have_a_figure() -> None:
    found = result({OURS: [0.5, 0.2, 0.3, math.nan, 0.4], "repeat": [0.1, 0.1, 0.3, 0.1, 0.5]})
    counted = duel(found, compare(found))
    assert counted == Duel(ahead=2, behind=1, even=1)
    assert "ahead of Repeat in 2 of 4 test steps, level with it in 1." in of_steps(compare(found), counted)


@pytest.mark.parametrize(("ahead", "behind"), [(0, 0), (1, 0), (3, 3), (2, 5), (6, 1), (0, 8)])
def test_the_chance_is_that_of_all_ways_in_which_coins_fall(ahead: int, behind: int) -> None:
    falls = [sum(coins) for coins in product((0, 1), repeat=ahead + behind)]
    uneven = [fall for fall in falls if abs(2 * fall - ahead - behind) >= abs(ahead - behind)]
    assert Duel(ahead, behind, even=4).chance == pytest.approx(len(uneven) / len(falls))


@pytest.mark.parametrize(
    ("ahead", "behind", "words"),
    [(9, 1, "steadily ahead"), (1, 9, "steadily behind"), (6, 4, "may be chance"), (3, 0, "may be chance")],
)
def test_only_an_uneven_split_is_called_steady(ahead: int, behind: int, words: str) -> None:
    assert words in of_steps(compare(result({OURS: [0.5], "repeat": [0.4]})), Duel(ahead, behind, 0))


def test_the_chart_of_the_steps_has_every_model_and_our_lead_over_the_best() -> None:
    found = result({OURS: [0.5, math.nan, 0.1], "activity": [0.1, 0.1, 0.1], "repeat": [0.2, 0.4, 0.4]})
    *lines, gap = steps_figure(found, compare(found), CLOCK).traces
    assert [line["name"] for line in lines] == ["Activity", "Repeat", "EvolveGCN-H with memory of pairs"]
    assert lines[-1]["x"] == [25, 26, 27]  # by the clock, which begins with 10, and not by position
    assert lines[-1]["y"] == [0.5, None, 0.1]
    assert gap["y"] == [0.3, None, -0.3]
    assert gap["marker"]["color"][::2] == ["--ours", "--rival"]


def test_without_a_yardstick_the_chart_has_our_line_alone() -> None:
    found = result({OURS: [0.5, 0.1]})
    drawn = steps_figure(found, compare(found), CLOCK)
    assert len(drawn.traces) == 1
    assert "yaxis2" not in drawn.layout
    assert duel(found, compare(found)) is None


def test_long_test_ranges_are_thinned() -> None:
    found = result({OURS: [0.5] * 3000, "repeat": [0.4] * 3000})
    drawn = steps_figure(found, compare(found), pd.Index(range(4000)))
    assert {len(trace["y"]) for trace in drawn.traces} == {400}


def test_bars_stand_from_the_worst_to_the_best_for_both_metrics() -> None:
    by_map, by_mrr = scores_figure(result({OURS: [0.25], "repeat": [0.5], "gcn": [0.1]})).traces
    assert (by_map["x"], by_mrr["x"]) == ([0.1, 0.25, 0.5], [0.9, 0.75, 0.5])
    assert by_map["marker"]["color"] == by_mrr["marker"]["color"] == ["--bar", "--ours", "--bar"]
