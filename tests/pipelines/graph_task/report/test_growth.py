import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.splits import Ranges
from pipelines.graph_task.report.growth import growth, growth_figure, of_growth
from pipelines.report.network import network_course

EVENTS = st.sets(st.tuples(st.integers(0, 9), st.sampled_from("abc"), st.sampled_from("abc")), min_size=1)
RANGES = Ranges(train_end=4, validation_end=6, end=10)


def edges(events: set[tuple[int, str, str]]) -> pl.DataFrame:
    frame = pl.DataFrame(sorted(events), schema=["step", "source", "target"], orient="row")
    return frame.with_columns(weight=pl.lit(1.0))


@given(events=EVENTS)
def test_an_edge_is_new_once_as_a_memory_step_by_step_has_it(events: set[tuple[int, str, str]]) -> None:
    found, seen = growth(edges(events), 10), set()
    for step in range(10):
        here = {(u, v) for at, u, v in events if at == step}
        assert (found.new[step], found.repeated[step]) == (len(here - seen), len(here & seen))
        seen |= here


def test_the_sentence_and_the_chart_tell_the_same() -> None:
    events = {(0, "a", "b"), (1, "a", "b"), (2, "a", "b"), (3, "a", "b"), (7, "a", "b"), (8, "b", "a")}
    found = growth(edges(events), 10)
    said = of_growth(found, RANGES).replace("\u00a0", " ")
    assert said == (
        "Of the edges of a training step 25 % are between pairs that were never linked before, of those of a test "
        "step 50 %."
    )
    course = network_course(edges(events), pl.Series(range(10)).to_pandas().index)
    before, new = growth_figure(found, course, RANGES).traces
    assert before["y"] == [0, 1, 1, 1, 0, 0, 0, 1, 0, 0]
    assert new["y"] == [1, 0, 0, 0, 0, 0, 0, 0, 1, 0]
    assert [shape["x0"] for shape in growth_figure(found, course, RANGES).layout["shapes"]] == [4, 6]


def test_a_long_course_is_thinned_to_means_that_keep_the_number_of_edges() -> None:
    events = {(step, "a", "b") for step in range(0, 4000, 2)}
    found = growth(edges(events), 4000)
    course = network_course(edges(events), pl.Series(range(4000)).to_pandas().index)
    before, new = growth_figure(found, course, Ranges(3000, 3500, 4000)).traces
    assert len(before["y"]) == 400
    assert sum(before["y"] + new["y"]) * 10 == pytest.approx(2000, rel=0.02)  # stretches of 9 to 11 steps
