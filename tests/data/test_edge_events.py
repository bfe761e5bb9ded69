import gzip
import os
from pathlib import Path

import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from data.bundled import HERE
from data.degree_features import fit_degrees
from data.edge_events import REASONS, EventColumns, read_edge_events
from data.errors import DataError, TooManyRejected
from data.event_steps import number_steps

UCI = [HERE / "uci_messages" / "CollegeMsg.txt.gz"]
AS733 = [HERE / "as733" / "as733_first100.tsv.gz"]
UCI_COLUMNS = EventColumns("column_0", "column_1", "column_2")


def uci(**options):
    return read_edge_events(UCI, UCI_COLUMNS, interval="190080s", epoch="s", has_header=False, **options)


@pytest.fixture
def read(tmp_path):
    def read(rows, names=("source", "target", "time"), **options):
        file = tmp_path / "edges.parquet"
        pl.DataFrame(rows, schema=list(names), orient="row").write_parquet(file)
        known = {name: name for name in ("weight", "label") if name in names}
        options = {"interval": "10s", "epoch": "s", "max_rejected_share": 1} | options
        return read_edge_events([file], EventColumns(**known), **options)

    return read


def edges_of(snapshots):
    """(step, source, target, weight) by name."""
    return [
        (step, snapshots.names[graph.nodes[u]], snapshots.names[graph.nodes[v]], weight)
        for step, graph in enumerate(snapshots)
        for (u, v), weight in zip(graph.edge_index.T.tolist(), graph.edge_weight.tolist(), strict=True)
    ]


# ---------------------------------------------------------------- known figures: specification, 5.1 and 5.2


def test_uci_messages_have_the_measured_figures():
    result = uci()
    steps = result.snapshots
    assert (result.rows_read, result.rows_used) == (59_835, 59_835)
    assert (len(steps), len(steps.names)) == (89, 1_899)
    assert (int(steps.node_counts().min()), int(steps.node_counts().max())) == (2, 656)
    pairs = torch.cat([graph.nodes[graph.edge_index] for graph in steps], dim=1)
    assert torch.unique(pairs, dim=1).shape[1] == 20_296
    assert sum(float(graph.edge_weight.sum()) for graph in steps) == 59_835
    assert str(steps.clock[0]) == "2004-04-15 14:56:01+00:00"


def test_uci_degrees_have_the_measured_width():
    """167 over all steps but the last, as the released code takes them, symmetrised."""
    steps = uci(is_directed=False).snapshots
    assert fit_degrees(steps, train_end=len(steps) - 1).largest + 1 == 167


def test_the_first_100_days_of_as733_have_the_measured_figures():
    result = read_edge_events(AS733, EventColumns("src", "dst", "step"), interval="rank", is_directed=False)
    steps = result.snapshots
    assert (len(steps), len(steps.names)) == (100, 3_569)
    assert sum(int((graph.edge_index[0] <= graph.edge_index[1]).sum()) for graph in steps) == 606_753
    assert (int(steps.node_counts().min()), int(steps.node_counts().max())) == (2_948, 3_371)
    assert steps.clock.tolist() == list(range(100))
    loops = sum(int((graph.edge_index[0] == graph.edge_index[1]).sum()) for graph in steps)
    assert loops / 606_753 == pytest.approx(0.075, abs=5e-4)
    assert all((graph.edge_weight == 1).all() for graph in steps)


@pytest.mark.skipif("FLOCKCAST_BITCOIN_OTC" not in os.environ, reason="its file states no licence, so it isn't bundled")
def test_bitcoin_otc_has_the_measured_figures():
    columns = EventColumns("column_0", "column_1", "column_3", label="column_2")
    file = Path(os.environ["FLOCKCAST_BITCOIN_OTC"])
    result = read_edge_events([file], columns, interval="1200000s", epoch="s", has_header=False, is_directed=False)
    steps = result.snapshots
    assert (result.rows_used, len(steps), len(steps.names)) == (35_592, 138, 5_881)
    assert (int(steps.node_counts().min()), int(steps.node_counts().max())) == (5, 580)
    for first, last, share in ((10, 95, 14.1), (95, 109, 19.5), (109, 138, 10.7)):
        labels = torch.cat([graph.edge_label for graph in steps[first:last]])
        assert round(100 * float((labels == 0).float().mean()), 1) == share
    assert fit_degrees(steps, train_end=137).largest + 1 == 145


# ---------------------------------------------------------------- steps


def test_steps_of_seconds_count_from_the_first_event_and_cut_fractions(read):
    steps = read([("a", "b", 1_000_000_003.9), ("a", "c", 1_000_000_012.9), ("b", "c", 1_000_000_033.0)]).snapshots
    assert edges_of(steps) == [(0, "a", "b", 1), (0, "a", "c", 1), (3, "b", "c", 1)]
    assert steps.node_counts().tolist() == [3, 0, 0, 2]
    assert [str(time) for time in steps.clock[:2]] == ["2001-09-09 01:46:43+00:00", "2001-09-09 01:46:53+00:00"]


def test_calendar_steps_are_those_of_the_local_calendar(read):
    rows = [("a", "b", "2024-01-31 23:30"), ("a", "b", "2024-01-31 22:30"), ("b", "a", "2024-03-05")]
    steps = read(rows, interval="1mo", epoch=None, timezone="Europe/Paris").snapshots
    assert edges_of(steps) == [(0, "a", "b", 2), (2, "b", "a", 1)]
    assert [f"{time:%Y-%m-%d %Z}" for time in steps.clock] == ["2024-01-01 CET", "2024-02-01 CET", "2024-03-01 CET"]


@pytest.mark.parametrize(
    ("times", "clock"),
    [([30, 4, 30], [0, 1]), (["1999-01-03", "1998-12-01", "1999-01-03"], ["1998-12-01", "1999-01-03"])],
)
def test_ranks_close_up_what_is_missing(read, times, clock):
    steps = read([("a", "b", time) for time in times], interval="rank", epoch=None).snapshots
    assert edges_of(steps) == [(0, "a", "b", 1), (1, "a", "b", 2)]
    assert [f"{time:%Y-%m-%d}" if isinstance(clock[0], str) else time for time in steps.clock] == clock


def test_milliseconds_read_as_seconds_are_told(read):
    with pytest.raises(DataError, match="1000000003000, which lie beyond the year 9999 with epoch = 's'"):
        read([("a", "b", 1_000_000_003_000)])
    strays = read([("a", "b", 1.0), ("a", "b", 1e15), ("a", "b", -1e15)])
    assert strays.rejections.counts["unparsable time"] == 2


def test_milliseconds_are_no_seconds(read):
    steps = read([("a", "b", 1_000_000_003_000), ("a", "b", 1_000_000_013_000)], epoch="ms").snapshots
    assert len(steps) == 2


# ---------------------------------------------------------------- edges


def test_events_of_an_edge_add_up_in_both_directions_and_a_loop_counts_once(read):
    rows = [("a", "b", 1, 2.0), ("b", "a", 2, 3.0), ("b", "b", 3, 4.0), ("a", "b", 1, 2.0)]
    names = ("source", "target", "time", "weight")
    assert edges_of(read(rows, names).snapshots) == [(0, "a", "b", 4), (0, "b", "a", 3), (0, "b", "b", 4)]
    both = read(rows, names, is_directed=False).snapshots
    assert edges_of(both) == [(0, "a", "b", 7), (0, "b", "a", 7), (0, "b", "b", 4)]
    assert not both.is_directed


def test_a_label_is_the_majority_of_signs_and_a_tie_is_negative(read):
    rows = [("a", "b", 1, 9), ("a", "b", 1, -1), ("a", "c", 1, 1), ("c", "a", 1, 5), ("b", "c", 1, -3)]
    steps = read(rows, ("source", "target", "time", "label")).snapshots
    assert dict(zip([(u, v) for _, u, v, _ in edges_of(steps)], steps[0].edge_label.tolist(), strict=True)) == {
        ("a", "b"): 0, ("a", "c"): 1, ("b", "c"): 0, ("c", "a"): 1,
    }  # fmt: skip
    reverse = read([("a", "b", 1, 9), ("b", "a", 1, -1)], ("source", "target", "time", "label"), is_directed=False)
    assert reverse.snapshots[0].edge_label.tolist() == [0, 0]


EVENTS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4), st.integers(0, 50)), min_size=1, max_size=30)


@settings(deadline=None, max_examples=50)
@given(EVENTS, st.booleans(), st.booleans())
def test_snapshots_are_the_dense_counts(tmp_path_factory, events, is_directed, keep):
    """Second way: a loop over the events. Nodes are whoever has an edge at that step."""
    file = tmp_path_factory.mktemp("events") / "e.csv"
    file.write_text("source,target,time\n" + "".join(f"{u},{v},{t}\n" for u, v, t in events))
    counting = [event for event in events if keep or event[0] != event[1]]
    options = {"interval": "7s", "epoch": "s", "max_rejected_share": 1, "nodes": list("01234")}
    if not counting:
        with pytest.raises(TooManyRejected, match="self-loop"):
            read_edge_events([file], EventColumns(), keep_self_loops=keep, **options)
        return
    result = read_edge_events([file], EventColumns(), is_directed=is_directed, keep_self_loops=keep, **options)
    first = min(t for *_, t in counting)
    dense = torch.zeros(len(result.snapshots), 5, 5)
    for u, v, t in counting:
        dense[(t - first) // 7, u, v] += 1
        if not is_directed and u != v:
            dense[(t - first) // 7, v, u] += 1
    for step, graph in enumerate(result.snapshots):
        found = torch.zeros(5, 5)
        found[tuple(graph.to_global(5).edge_index)] = graph.edge_weight
        torch.testing.assert_close(found, dense[step])
        assert graph.nodes.tolist() == (dense[step].sum(0) + dense[step].sum(1)).nonzero().flatten().tolist()
    assert result.rows_used == len(counting) == result.rows_read - sum(result.rejections.counts.values())


# ---------------------------------------------------------------- files


def test_the_dress_of_a_file_changes_nothing(tmp_path):
    rows = pl.DataFrame({"from": ["007", "8", "8"], "to": ["8", "9", "9"], "when": ["3", "4", "40"]})
    rows.write_csv(tmp_path / "a.csv")
    rows.write_csv(tmp_path / "b.tsv", separator="\t")
    rows.write_csv(tmp_path / "c.txt", separator=" ")
    (tmp_path / "d.txt.gz").write_bytes(gzip.compress((tmp_path / "c.txt").read_bytes()))
    rows.write_parquet(tmp_path / "e.parquet")
    found = [
        edges_of(read_edge_events([file], EventColumns("from", "to", "when"), interval="10s", epoch="s").snapshots)
        for file in sorted(tmp_path.iterdir())
    ]
    assert found == [[(0, "007", "8", 1), (0, "8", "9", 1), (3, "8", "9", 1)]] * 5


def test_an_unknown_column_is_told_with_the_nearest():
    with pytest.raises(DataError, match=r"no column 'source'.*the columns are: column_0, column_1, column_2"):
        read_edge_events(UCI, EventColumns(), interval="1d", epoch="s", has_header=False)


def test_a_file_without_rows_is_told(tmp_path):
    (tmp_path / "a.csv").write_text("source,target,time\n")
    with pytest.raises(DataError, match="the files have no rows"):
        read_edge_events([tmp_path / "a.csv"], EventColumns(), interval="1d", epoch="s")
    (tmp_path / "b.csv").write_text("")
    with pytest.raises(DataError, match=r"b\.csv"):
        read_edge_events([tmp_path / "b.csv"], EventColumns(), interval="1d", epoch="s")


def test_numbers_for_dates_are_told_what_to_say(read, tmp_path):
    with pytest.raises(DataError, match=r"numbers such as 1082040961, not dates; say what they count .* epoch = 's'"):
        read_edge_events(UCI, UCI_COLUMNS, interval="1d", has_header=False)
    with pytest.raises(DataError, match="numbers such as 5"):
        read([("a", "b", 5)], epoch=None)


@pytest.mark.parametrize("times", [["1", "2", "49"], ["1.5", "2.5"], ["7", "n/a", "8"], ["1000000003", "1000000004"]])
def test_small_numbers_in_text_are_told_both_ways_to_read_them(read, times):
    """Ranks as much as seconds; a cell that is neither number nor date hides nothing."""
    rows = [("a", "b", time) for time in times]
    told = rf"'time' holds numbers such as {times[0]}, not dates; .*epoch = 's', 'ms' or 'us', or .*interval = 'rank'"
    with pytest.raises(DataError, match=told):
        read(rows, interval="1d", epoch=None)
    numbers = [time for time in times if time != "n/a"]
    ranked = read(rows, interval="rank", epoch=None)
    assert list(ranked.snapshots.clock) == list(range(len(numbers)))
    assert ranked.rejections.counts["unparsable time"] == len(times) - len(numbers)


@pytest.mark.parametrize("times", [["2019", "2020"], ["20190301", "20190302"], ["2019-03-01", "3", "2019-03-02"]])
def test_numbers_that_are_dates_are_dates(read, times):
    steps = read([("a", "b", time) for time in times], interval="1d", epoch=None).snapshots
    assert steps.clock[0].year == 2019


@pytest.mark.parametrize("interval", ["10", "0s", "auto", "1 day", "s"])
def test_an_interval_that_is_none_is_told(read, interval):
    with pytest.raises(DataError, match="is none for edge events; write seconds from the first event"):
        read([("a", "b", 1)], interval=interval)


def test_a_stray_time_is_told_before_it_fills_the_memory(read):
    with pytest.raises(
        DataError, match=r"there would be 100,000,001 steps of 10s from 1970-01-01.*more than 1,000,000"
    ):
        read([("a", "b", 1), ("a", "b", 1_000_000_001)])


@pytest.mark.parametrize("unit", [None, pl.Datetime("us", "UTC")])
def test_ranks_are_as_many_as_steps_of_a_clock_may_be(unit):
    times = pl.Series(range(1_000_001)).cast(pl.Float64 if unit is None else unit)
    step, clock = number_steps(times[:-1], "rank", "UTC")
    assert (step[-1], len(clock)) == (999_999, 1_000_000)
    with pytest.raises(
        DataError, match=r"1,000,001 steps, one for each distinct time, from .* more than 1,000,000; take"
    ):
        number_steps(times, "rank", "UTC")


# ---------------------------------------------------------------- rejections

NAMES = ("source", "target", "time", "weight", "label")


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (("z", "b", "soon", -1.0, None), "unparsable time"),
        (("z", "b", "1e400", 1.0, 1), "unparsable time"),
        (("z", "b", "5", -1.0, None), "unknown node"),
        ((None, "b", "5", 1.0, 1), "unknown node"),
        (("a", "b", "5", None, None), "weight is not a number"),
        (("a", "b", "5", -1.0, None), "negative weight"),
        (("b", "b", "5", 1.0, None), "label is not a number"),
        (("b", "b", "5", 1.0, 1), "self-loop"),
    ],
)
def test_a_row_that_does_not_count_is_counted_under_its_first_reason(read, row, reason):
    result = read([("a", "b", "1", 1.0, 1), row], NAMES, nodes=["a", "b"], keep_self_loops=False)
    assert (result.rows_read, result.rows_used) == (2, 1)
    assert {name: count for name, count in result.rejections.counts.items() if count} == {reason: 1}
    assert tuple(result.rejections.counts) == REASONS
    assert result.rejections.examples.rows() == [(reason, *row)]


def test_too_many_rejections_are_an_error_but_loops_left_out_on_purpose_are_not(read):
    rows = [("a", "b", 1), ("a", "a", 1), ("b", "b", 1)]
    kept = read(rows, keep_self_loops=False, max_rejected_share=0.05)
    assert kept.rejections.counts["self-loop"] == 2
    with pytest.raises(TooManyRejected, match="1 unknown node"):
        read([*rows, ("c", "a", 1)], nodes=["a", "b"], keep_self_loops=False, max_rejected_share=0.05)


def test_a_file_of_which_nothing_counts_says_why(read):
    with pytest.raises(TooManyRejected, match="all 1 rows were rejected: 1 negative weight"):
        read([("a", "b", 1, -1.0)], ("source", "target", "time", "weight"))


def test_an_edge_whose_weights_add_up_to_nothing_is_none_and_is_noted(read):
    result = read([("a", "b", 1, 0.0), ("b", "a", 1, 1.0)], ("source", "target", "time", "weight"))
    assert edges_of(result.snapshots) == [(0, "b", "a", 1)]
    assert result.notes == {"of an edge whose weights add up to 0": 1}
