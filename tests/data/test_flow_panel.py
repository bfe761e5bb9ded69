from dataclasses import replace

import numpy as np
import pandas as pd
import polars as pl
import pytest

from data.errors import DataError
from data.flow_panel import MOST_ZONES, pair_panel
from data.panel import Panel

NODES = ("b", "a", "c")


def node_panel(steps: int = 4, nodes: tuple[str, ...] = NODES) -> Panel:
    index = pd.date_range("2024-03-31", periods=steps, freq="h", tz="Europe/Paris")
    values = np.zeros((steps, len(nodes), 2))
    static = pl.DataFrame({"node": list(nodes)})
    return Panel(values, np.ones(values.shape, dtype=bool), index, nodes, ("inflow", "outflow"), "1h", static)


def flows(*rows: tuple[int, str, str, int]) -> pl.DataFrame:
    """Step (of `node_panel`), source, target, weight."""
    index = pd.date_range("2024-03-31", periods=99, freq="h", tz="Europe/Paris")
    time = [index[step] if step >= 0 else index[0] - pd.Timedelta(hours=-step) for step, *_ in rows]
    return pl.DataFrame(
        {
            "time": pl.Series([t.to_pydatetime() for t in time], dtype=pl.Datetime("us", "Europe/Paris")),
            "source": [source for _, source, _, _ in rows],
            "target": [target for _, _, target, _ in rows],
            "weight": [weight for *_, weight in rows],
        }
    )


def test_a_flow_stands_at_its_step_its_source_and_its_target() -> None:
    """The clock jumps an hour in this night, so steps are no hours of the day."""
    panel = pair_panel(flows((0, "b", "a", 5), (2, "a", "b", 7), (3, "c", "c", 1)), node_panel())
    expected = np.zeros((4, 3, 3))
    expected[0, 0, 1], expected[2, 1, 0], expected[3, 2, 2] = 5, 7, 1
    np.testing.assert_array_equal(panel.values, expected)
    assert panel.variables == ("to b", "to a", "to c")
    assert panel.mask.all()


def test_other_nodes_and_other_times_are_left_out() -> None:
    other = flows((0, "b", "x", 5), (1, "x", "a", 5), (7, "a", "b", 5), (-2, "a", "b", 5))
    assert not pair_panel(other, node_panel()).values.any()


def test_a_step_that_was_not_observed_has_no_flows() -> None:
    whole = node_panel()
    mask = whole.mask.copy()
    mask[1] = False
    panel = pair_panel(flows((0, "b", "a", 5)), replace(whole, mask=mask))
    assert not panel.mask[1].any()
    assert np.isnan(panel.values[1]).all()
    assert panel.mask[[0, 2, 3]].all()


def test_more_zones_than_fit_are_refused_with_the_remedy() -> None:
    many = tuple(f"z{i}" for i in range(MOST_ZONES + 1))
    with pytest.raises(DataError, match=r"101 zones make 10,201 flows.*set task\.busiest to 100"):
        pair_panel(flows((0, "z1", "z2", 1)), node_panel(nodes=many))
