from dataclasses import replace

import pandas as pd
import pytest
import torch

from data.degree_features import DegreeSchema, fit_degrees, out_degree, with_features
from data.given_graph import matrix_graph
from data.snapshots import Snapshot, Snapshots


def random_snapshots(seed: int, steps: int, density: float) -> list[Snapshot]:
    generator = torch.Generator().manual_seed(seed)
    draws = torch.rand(steps, 9, 9, generator=generator)
    return [matrix_graph((draw * (draw < density)).numpy()) for draw in draws]


@pytest.fixture
def snapshots() -> Snapshots:
    steps = random_snapshots(0, 8, 0.3)
    return Snapshots(tuple(steps), tuple("abcdefghi"), pd.RangeIndex(8), "rank", True)


def test_the_out_degree_counts_the_entries_of_a_row(snapshots):
    for graph in snapshots:
        dense = torch.zeros(9, 9)
        dense[tuple(graph.edge_index)] = graph.edge_weight
        assert torch.equal(out_degree(graph), (dense > 0).sum(1))


def test_noise_after_the_training_range_leaves_the_schema_and_the_features_as_they_are(snapshots):
    noise = replace(snapshots, steps=snapshots.steps[:5] + tuple(random_snapshots(1, 3, 0.9)))
    schema = fit_degrees(snapshots, train_end=5)
    assert fit_degrees(noise, train_end=5) == schema
    assert fit_degrees(noise, train_end=6) != schema
    for features in (schema.one_hot, schema.log_degree):
        before, after = with_features(snapshots, features), with_features(noise, features)
        assert all(torch.equal(one.x, other.x) for one, other in zip(before[:5], after[:5], strict=True))
        assert len({graph.x.shape for graph in after}) == 1


def test_a_degree_beyond_the_training_range_counts_as_the_largest():
    graph = matrix_graph(torch.ones(4, 4).triu().numpy())  # degrees 4, 3, 2, 1
    assert DegreeSchema(3).one_hot(graph).argmax(1).tolist() == [3, 3, 2, 1]
    assert DegreeSchema(3).one_hot(graph).sum(1).tolist() == [1, 1, 1, 1]


def test_nodes_without_an_edge_that_leaves_are_in_class_0():
    graph = matrix_graph(torch.tensor([[0.0, 1.0], [0.0, 0.0]]).numpy())
    assert DegreeSchema(1).one_hot(graph).tolist() == [[0, 1], [1, 0]]


def test_the_log_degree_is_one_at_the_largest_degree_of_training():
    graph = matrix_graph(torch.ones(4, 4).triu().numpy())
    x = DegreeSchema(3).log_degree(graph)
    assert x.shape == (4, 1)
    assert x[1].item() == pytest.approx(1)
    assert x[0].item() > 1


def test_an_empty_snapshot_has_features_of_the_same_width():
    empty = Snapshot(torch.zeros(0, dtype=torch.int64), torch.zeros(2, 0, dtype=torch.int64), torch.zeros(0))
    alone = Snapshots((empty,), (), pd.RangeIndex(1), "rank", True)
    schema = fit_degrees(alone, train_end=1)
    assert schema == DegreeSchema(0)
    assert schema.one_hot(empty).shape == (0, 1)
    assert schema.log_degree(empty).shape == (0, 1)


@pytest.mark.parametrize("train_end", [0, 9])
def test_a_training_range_that_is_none_is_told(snapshots, train_end):
    with pytest.raises(ValueError, match=f"a training range of {train_end} steps is no part of 8 snapshots"):
        fit_degrees(snapshots, train_end=train_end)
