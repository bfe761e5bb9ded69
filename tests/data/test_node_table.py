import math

import numpy as np
import polars as pl
import pytest
import torch

from data.edge_events import EventColumns, read_edge_events
from data.errors import DataError, TooManyRejected
from data.node_features import fit_scale
from data.node_table import REASONS, LabelRules, NodeColumns, add_node_table
from data.snapshots import UNLABELLED

EDGES = [("a", "b", 10), ("b", "c", 20), ("a", "c", 45)]
TIMED = NodeColumns(time="time", label="label", features=("size",))
FIRST = "node,time,label,size\na,12,good,1.5\nz,15,bad,2\n"


@pytest.fixture
def read(tmp_path):
    """The snapshots of EDGES in steps of 10 s from 10 on, with the node table that `text` is."""

    def read(text, columns=TIMED, *, interval="10s", epoch="s", edges=EDGES, **options):
        pl.DataFrame(edges, schema=["source", "target", "time"], orient="row").write_csv(tmp_path / "edges.csv")
        graph = read_edge_events([tmp_path / "edges.csv"], EventColumns(), interval=interval, epoch=epoch)
        (tmp_path / "nodes.csv").write_text(text)
        return add_node_table(
            graph, [tmp_path / "nodes.csv"], columns, epoch=epoch, **{"max_rejected_share": 1} | options
        )

    return read


def told(snapshots):
    """(step, name, class or None, features) of every node that is there."""
    return [
        (
            step,
            snapshots.names[node],
            None if graph.node_label is None or label == UNLABELLED else snapshots.classes[label],
            [] if graph.x is None else [None if math.isnan(value) else value for value in graph.x[place].tolist()],
        )
        for step, graph in enumerate(snapshots)
        for place, node in enumerate(graph.nodes.tolist())
        for label in [UNLABELLED if graph.node_label is None else int(graph.node_label[place])]
    ]


def test_a_row_tells_of_its_node_at_its_step_and_a_node_without_an_edge_is_there_alone(read):
    found = read(FIRST).snapshots
    assert told(found) == [
        (0, "a", "good", [1.5]),
        (0, "b", None, [None]),
        (0, "z", "bad", [2.0]),
        (1, "b", None, [None]),
        (1, "c", None, [None]),
        (3, "a", None, [None]),
        (3, "c", None, [None]),
    ]
    assert (found.classes, found.features, found.names) == (("bad", "good"), ("size",), ("a", "b", "c", "z"))
    assert found[0].node_label.tolist() == [1, -1, 0]


def test_edges_stay_what_they_were_among_more_nodes(read):
    rows = "".join(f"{node},{time},x,1\n" for node in ("0", "zz", "b5", "a") for time in (10, 25, 30, 49))
    grown = read("node,time,label,size\n" + rows).snapshots
    ends = [[(grown.names[u], grown.names[v]) for u, v in graph.nodes[graph.edge_index].T.tolist()] for graph in grown]
    assert ends == [[("a", "b")], [("b", "c")], [], [("a", "c")]]
    assert grown.node_counts().tolist() == [5, 6, 4, 5]
    assert grown.names == ("a", "b", "c", "0", "b5", "zz")  # ids of the edges' nodes don't move


def test_a_static_row_counts_at_every_step_at_which_its_node_has_an_edge(read):
    found = read("node,label\na,1\nc,0\nq,1\n", NodeColumns(label="label"), max_rejected_share=0)
    assert [(step, name, label) for step, name, label, _ in told(found.snapshots)] == [
        (0, "a", "1"),
        (0, "b", None),
        (1, "b", None),
        (1, "c", "0"),
        (3, "a", "1"),
        (3, "c", "0"),
    ]
    assert found.snapshots[0].x is None
    assert {name: count for name, count in found.rejections.counts.items() if count} == {"of a node without an edge": 1}


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (",soon,bad,x", "unparsable time"),
        (",15,bad,x", "no node"),
        ("a,75,bad,x", "at no step of the edges"),
        ("a,5,bad,1", "at no step of the edges"),
        ("a,15,odd,x", "feature is not a number"),
        ("a,15,odd,inf", "feature is not a number"),
        ("a,15,odd,1e300", "feature is not a number"),
        ("a,15,odd,1", "unknown class"),
        ("b,14,bad,1", "second row of a node at a step"),
    ],
)
def test_a_row_that_does_not_count_is_counted_under_its_first_reason(read, row, reason):
    found = read(
        f"node,time,label,size\nb,10,good,1\n{row}\n", labels=LabelRules(classes=("good", "bad")), quarantine_examples=9
    )
    assert (found.rows_read, found.rows_used) == (3 + 2, 3 + 1)
    assert {name: count for name, count in found.rejections.counts.items() if count} == {reason: 1}
    assert set(REASONS) <= set(found.rejections.counts)
    assert found.rejections.examples["reason"].to_list() == [reason]
    assert told(found.snapshots)[1] == (0, "b", "good", [1.0])


def test_empty_cells_and_the_words_for_it_are_not_known(read):
    found = read("node,time,label,size\na,10,,\nb,10,unknown,1\nc,20, good , \n", labels=LabelRules(("unknown",)))
    assert told(found.snapshots)[:2] == [(0, "a", None, [None]), (0, "b", None, [1.0])]
    assert told(found.snapshots)[3] == (1, "c", "good", [None])
    assert found.rows_used == 6
    assert found.snapshots.classes == ("good",)


def test_classes_are_sorted_as_numbers_where_they_are_some_and_as_the_spec_has_them(read):
    rows = "node,time,label,size\na,10,10,1\nb,10,9,1\n"
    assert read(rows).snapshots.classes == ("9", "10")
    named = read(rows, labels=LabelRules(classes=("10", "9", "8"))).snapshots
    assert named.classes == ("10", "9", "8")
    assert named[0].node_label.tolist() == [0, 1]


def test_ranks_and_dates_meet_those_of_the_edges(read):
    ranked = read("node,time,label,size\nc,20,x,1\n", interval="rank", epoch=None).snapshots
    assert [row for row in told(ranked) if row[2]] == [(1, "c", "x", [1.0])]
    edges = [("a", "b", "2024-03-01 10:30"), ("a", "c", "2024-04-02 23:00")]
    rows = "node,time,label,size\nb,2024-04-30,x,1\n"
    monthly = read(rows, interval="1mo", epoch=None, edges=edges).snapshots
    assert [row for row in told(monthly) if row[2]] == [(1, "b", "x", [1.0])]
    with pytest.raises(DataError, match="column 'time' of the nodes and the times of the edges are of different kinds"):
        read(rows, interval="rank", epoch=None)


def test_a_column_that_is_not_there_and_a_file_of_which_nothing_counts_are_told(read):
    with pytest.raises(DataError, match=r"no column 'size' \(did you mean 'sizes'\?\)"):
        read("node,time,label,sizes\na,10,x,1\n")
    with pytest.raises(TooManyRejected, match="all 1 rows were rejected: 1 no node"):
        read("node,time,label,size\n,10,x,1\n")
    with pytest.raises(TooManyRejected, match="1 feature is not a number"):
        read("node,time,label,size\na,10,x,1\nb,10,x,big\n", max_rejected_share=0.4)
    with pytest.raises(DataError, match="the files have no rows"):
        read("node,time,label,size\n")


def test_the_scale_is_that_of_the_training_steps_alone(read):
    random = np.random.default_rng(0)
    values = random.normal(50, 4, 4).astype(np.float32)

    def table(late):
        cells = zip(("a", "b", "b", "c"), (10, 10, 20, 20), values, strict=True)
        return "node,time,size,same,new\n" + "".join(f"{n},{t},{v},7.1,\n" for n, t, v in cells) + f"a,45,{late},8,3\n"

    columns = NodeColumns(time="time", features=("size", "same", "new"))
    one, other = (read(table(late), columns).snapshots for late in (0, 1e6))
    scale = fit_scale(one, train_end=3)
    assert scale == fit_scale(other, train_end=3) != fit_scale(other, train_end=4)
    scaled = torch.cat([scale.scaled(graph) for graph in one[:2]])
    torch.testing.assert_close(
        scaled[:, 0], torch.from_numpy((values - values.mean()) / values.std()), rtol=0, atol=1e-4
    )
    last = scale.scaled(one[3])
    assert last[:, 1:].abs().max() == 0  # training has told nothing of these
    assert last[1].tolist() == [0, 0, 0]  # c, of which nothing is known
    with pytest.raises(ValueError, match="lacks the features size, same, new"):
        scale.scaled(read(FIRST).snapshots[0])
