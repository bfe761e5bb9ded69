from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from data.snapshots import Snapshot, Snapshots


def snapshot(**changes) -> Snapshot:
    """Nodes 3, 5 and 9 with a path, a loop, features and labels."""
    parts = {
        "nodes": torch.tensor([3, 5, 9]),
        "edge_index": torch.tensor([[0, 1, 1], [1, 1, 2]]),
        "edge_weight": torch.tensor([1.0, 2.0, 3.0]),
        "x": torch.tensor([[1.0], [2.0], [3.0]]),
        "edge_label": torch.tensor([0, 1, 1]),
        "node_label": torch.tensor([2, -1, 0]),
    }
    return Snapshot(**(parts | changes))


def empty() -> Snapshot:
    return Snapshot(torch.zeros(0, dtype=torch.int64), torch.zeros(2, 0, dtype=torch.int64), torch.zeros(0))


def single() -> Snapshot:
    return Snapshot(torch.tensor([7]), torch.zeros(2, 0, dtype=torch.int64), torch.zeros(0))


@pytest.fixture
def snapshots() -> Snapshots:
    days = pd.date_range("2024-01-01", periods=3, freq="D", tz="UTC")
    return Snapshots((snapshot(), empty(), single()), tuple("abcdefghij"), days, "1d", True)


# ---------------------------------------------------------------- one snapshot


def test_the_global_form_names_global_ids_and_marks_who_is_there():
    whole = snapshot().to_global(11)
    assert whole.edge_index.tolist() == [[3, 5, 5], [5, 5, 9]]
    assert whole.active.nonzero().flatten().tolist() == [3, 5, 9]
    assert whole.x.flatten().tolist() == [0, 0, 0, 1, 0, 2, 0, 0, 0, 3, 0]
    assert whole.node_label.tolist() == [-1, -1, -1, 2, -1, -1, -1, -1, -1, 0, -1]
    assert whole.edge_label.tolist() == [0, 1, 1]


@settings(deadline=None)
@given(st.sets(st.integers(0, 20), min_size=1), st.randoms(use_true_random=False))
def test_the_global_form_is_the_same_matrix_with_empty_rows_between(nodes, random):
    """Second way: the dense adjacency of the local form, spread over all nodes."""
    ids = torch.tensor(sorted(nodes))
    dense = torch.tensor([[float(random.randint(0, 2)) for _ in ids] for _ in ids])
    local = Snapshot(ids, dense.nonzero().T.contiguous(), dense[dense != 0])
    whole = local.to_global(21)
    expected = torch.zeros(21, 21)
    expected[ids[:, None], ids] = dense
    found = torch.zeros(21, 21)
    found[whole.edge_index[0], whole.edge_index[1]] = whole.edge_weight
    torch.testing.assert_close(found, expected)
    assert whole.active.sum() == len(nodes)


def test_snapshots_without_nodes_and_with_a_single_one_have_a_global_form():
    assert empty().to_global(4).active.tolist() == [False] * 4
    assert single().to_global(8).active.tolist() == [False] * 7 + [True]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"nodes": torch.tensor([3, 9, 5])}, "ascending"),
        ({"nodes": torch.tensor([3, 3, 5])}, "each once"),
        ({"edge_index": torch.tensor([[0, 1, 1], [1, 1, 3]])}, "edge_index names node 3 but the snapshot has 3 nodes"),
        ({"edge_index": torch.tensor([[-1, 1, 1], [1, 1, 2]])}, "edge_index names node -1"),
        ({"edge_index": torch.tensor([[0, 1, 1], [1, 2, 1]])}, "edge 2 repeats the one before it or comes too late"),
        ({"edge_index": torch.tensor([[0, 1, 1], [1, 1, 1]])}, "edge 2 repeats"),
        ({"edge_weight": torch.tensor([1.0, -2.0, 3.0])}, "edge 1 has the weight -2"),
        ({"edge_weight": torch.tensor([1.0, 2.0, float("nan")])}, "edge 2 has the weight nan"),
        ({"edge_weight": torch.ones(2)}, "edge_weight has 2 rows but the snapshot has 3 edges"),
        ({"x": torch.ones(4, 1)}, "x has 4 rows but the snapshot has 3 nodes"),
        ({"edge_index": torch.zeros(3, 3, dtype=torch.int64)}, r"must be \[2, edges\]"),
    ],
)
def test_what_is_no_snapshot_is_told(changes, told):
    with pytest.raises(ValueError, match=told):
        snapshot(**changes)


def test_a_node_beyond_all_nodes_is_told():
    with pytest.raises(ValueError, match="global id 9 but N is 9"):
        snapshot().to_global(9)


# ---------------------------------------------------------------- the sequence


def test_counts_are_those_of_each_step(snapshots):
    assert len(snapshots) == 3
    assert snapshots.node_counts().tolist() == [3, 0, 1]
    assert snapshots.edge_counts().tolist() == [3, 0, 0]


def test_up_to_ends_with_the_cutoff_and_a_window_has_its_length(snapshots):
    assert snapshots.up_to(1).steps == snapshots.steps[:2]
    assert snapshots.window(2, 2).steps == snapshots.steps[1:]
    assert list(snapshots.window(2, 2).clock) == list(snapshots.clock[1:])
    assert snapshots[1:].names == snapshots.names


@pytest.mark.parametrize(("cutoff", "length"), [(3, 1), (-1, 1), (1, 3), (1, 0)])
def test_a_window_that_is_not_there_is_told(snapshots, cutoff, length):
    with pytest.raises(IndexError):
        snapshots.window(cutoff, length)


def test_a_clock_or_names_that_do_not_fit_are_told(snapshots):
    with pytest.raises(ValueError, match="the clock has 2 steps but there are 3 snapshots"):
        replace(snapshots, clock=snapshots.clock[:2])
    with pytest.raises(ValueError, match="step 0 has a node with global id 9 but 9 are named"):
        replace(snapshots, names=snapshots.names[:9])


def test_ranks_are_a_clock_too(snapshots):
    assert np.array_equal(replace(snapshots, clock=pd.RangeIndex(3)).up_to(1).clock, [0, 1])
