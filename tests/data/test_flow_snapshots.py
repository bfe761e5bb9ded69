import math
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from data.bundled import HERE
from data.flow_snapshots import flow_snapshots
from data.od import OdColumns, read_od
from data.trips import TripColumns, read_trips

NOON = datetime(2024, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def counts(tmp_path):
    file = tmp_path / "od.parquet"
    rows = [(0, "2", "1", 3), (0, "1", "2", 4), (2, "10", "10", 5), (3, "1", "2", 0)]
    pl.DataFrame(
        [(NOON + timedelta(hours=hour), *row) for hour, *row in rows],
        schema=["time", "source", "target", "weight"],
        orient="row",
    ).write_parquet(file)
    return read_od([file], OdColumns(), timezone="Europe/Paris")


def test_each_step_of_the_panel_is_a_snapshot_of_what_moved(counts):
    steps = flow_snapshots(counts.flows, counts.panel)
    assert steps.names == ("1", "2", "10")
    assert list(steps.clock) == list(counts.panel.index)
    assert steps[0].edge_index.tolist() == [[0, 1], [1, 0]]
    assert steps[0].edge_weight.tolist() == [4, 3]
    assert steps.node_counts().tolist() == [2, 0, 1, 0]
    assert steps[2].nodes.tolist() == [2]
    assert steps.is_directed


def test_weights_may_be_logarithms(counts):
    steps = flow_snapshots(counts.flows, counts.panel, weight="log1p")
    assert steps[0].edge_weight.tolist() == pytest.approx([math.log(5), math.log(4)])


def test_in_and_outflows_of_the_snapshots_are_those_of_the_panel():
    """Second way, on real trips: outflow of the panel is summed from the very flows."""
    columns = TripColumns("lpep_pickup_datetime", "lpep_dropoff_datetime", "PULocationID", "DOLocationID")
    start = datetime(2023, 1, 2)
    read = read_trips(
        [HERE / "nyc_green_trips" / "trips_2023Q1.parquet"],
        columns,
        timezone="America/New_York",
        start=start,
        end=start + timedelta(days=2),
        max_rejected_share=1,
    )
    steps = flow_snapshots(read.flows, read.panel)
    outflow = read.panel.values[:, :, read.panel.variables.index("outflow")]
    for step, graph in enumerate(steps):
        whole = graph.to_global(len(steps.names))
        leaving = whole.edge_weight.new_zeros(len(steps.names)).index_add_(0, whole.edge_index[0], whole.edge_weight)
        assert leaving.tolist() == outflow[step].tolist()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"target": "z"}, "a flow names node 'z', which is not among the 3 of the panel"),
        ({"time": pl.col("time") + timedelta(minutes=5)}, "begins no step of the panel"),
        ({"time": pl.col("time") + timedelta(days=5)}, "begins no step of the panel"),
        ({"weight": -pl.col("weight")}, "from '1' to '2' at .* is -4; flows are 0 and more"),
    ],
)
def test_flows_that_do_not_fit_are_told(counts, change, told):
    new = {name: pl.lit(value) if isinstance(value, str) else value for name, value in change.items()}
    with pytest.raises(ValueError, match=told):
        flow_snapshots(counts.flows.with_columns(**new), counts.panel)
