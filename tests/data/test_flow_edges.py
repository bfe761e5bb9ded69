import numpy as np
import pandas as pd
import polars as pl
import pytest

from data import flow_edges as module
from data.errors import DataError
from data.flow_edges import flow_edges

INDEX = pd.date_range("2024-03-30 22:00", periods=8, freq="h", tz="Europe/Paris")  # the clock changes among them
NODES = ("a", "b", "c")


def flows(*rows: tuple[int, str, str, float]) -> pl.DataFrame:
    """By the number of the step; some are outside the index."""
    times = pd.date_range(INDEX[0] - pd.Timedelta("3h"), periods=20, freq="h")
    table = pl.DataFrame(rows, schema=["step", "source", "target", "weight"], orient="row")
    clock = pl.Series([times[3 + step] for step in table["step"]]).dt.cast_time_unit("us")
    return table.select(clock.alias("time"), "source", "target", "weight")


def test_every_flow_stands_where_it_belongs() -> None:
    edges = flow_edges(
        flows((0, "a", "b", 1.0), (4, "c", "a", 7.0), (4, "b", "b", 2.0), (7, "a", "c", 3.0)), INDEX, NODES
    )
    expected = np.zeros((8, 3, 3))
    expected[0, 0, 1], expected[4, 2, 0], expected[4, 1, 1], expected[7, 0, 2] = np.log1p([1.0, 7.0, 2.0, 3.0])
    assert edges.dtype == np.float32
    np.testing.assert_allclose(edges, expected, rtol=1e-6)


def test_flows_of_other_nodes_and_other_steps_are_left_out() -> None:
    found = flow_edges(
        flows((-1, "a", "b", 1.0), (8, "a", "b", 1.0), (3, "a", "z", 1.0), (3, "z", "a", 1.0)), INDEX, NODES
    )
    assert not found.any()


def test_the_order_of_the_nodes_is_that_of_the_panel() -> None:
    given = flows((2, "a", "b", 1.0), (3, "c", "a", 7.0))
    straight, turned = flow_edges(given, INDEX, NODES), flow_edges(given, INDEX, ("c", "a", "b"))
    order = [2, 0, 1]
    assert np.array_equal(turned, straight[:, order][:, :, order])


@pytest.mark.parametrize("delay", [1, 3])
def test_with_a_delay_a_flow_is_known_so_many_steps_later(delay: int) -> None:
    given = flows(*[(step, "a", "b", 1.0 + step) for step in range(8)])
    late, soon = flow_edges(given, INDEX, NODES, delay=delay), flow_edges(given, INDEX, NODES)
    assert np.array_equal(late[delay:], soon[:-delay])
    assert not late[:delay].any()


def test_edges_that_would_fill_the_memory_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_ENTRIES", 8 * 9 - 1)
    with pytest.raises(DataError, match=r"3 nodes at each of 8 steps are 72 numbers.*task\.busiest"):
        flow_edges(flows((0, "a", "b", 1.0)), INDEX, NODES)
