"""What is told of a sample, what was known at it, and that a frame of the nodes that are there is enough."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from data.snapshot_store import SnapshotSet
from pipelines.graph_task.features import feature_width
from pipelines.graph_task.network import GraphNetwork
from pipelines.graph_task.prepare import memories, prepare
from pipelines.graph_task.spec import GraphSpec

Make = Callable[..., GraphSpec]


def edges(friends: SnapshotSet, step: int) -> set[tuple[int, int]]:
    graph = friends.snapshots[step]
    return {(u, v) for u, v in graph.nodes[graph.edge_index].T.tolist()}


def test_the_target_of_links_is_the_step_after_and_of_classes_the_step_itself(
    graph_spec: Make, friends: SnapshotSet
) -> None:
    links = prepare(graph_spec(), friends).labelled(4)
    classes = prepare(graph_spec(task={"kind": "edge_labels"}), friends).labelled(4)
    assert {tuple(pair) for pair in links.members.T.tolist()} == edges(friends, 5)
    assert {tuple(pair) for pair in classes.members.T.tolist()} == edges(friends, 4)
    assert links.label.tolist() == [1] * len(edges(friends, 5))
    assert torch.equal(classes.label, friends.snapshots[4].edge_label.long())


def test_a_memory_has_seen_the_steps_up_to_its_sample_and_no_later_one(graph_spec: Make, friends: SnapshotSet) -> None:
    prepared = prepare(graph_spec(), friends)
    for sample, memory in zip(range(3, 9, 2), prepared.memories(range(3, 9, 2)), strict=True):
        known = set().union(*(edges(friends, step) for step in range(sample + 1)))
        assert {tuple(pair) for pair in memory.seen_pairs().T.tolist()} == known


def test_a_memory_knows_how_much_passed_and_when_last(friends: SnapshotSet) -> None:
    snapshots, last = friends.snapshots, len(friends.snapshots) - 1
    heavy = replace(snapshots, steps=tuple(replace(step, edge_weight=9 * step.edge_weight) for step in snapshots))
    [light, loaded] = [next(memories(each, range(last, last + 1), window=3)) for each in (snapshots, heavy)]
    pairs = light.seen_pairs()
    more = loaded.features(pairs) - light.features(pairs)
    assert (more >= 0).all()
    assert (more.amax(0) > 0).sum() == 3  # the three volumes
    ages = [last - max(step for step in range(last + 1) if (u, v) in edges(friends, step)) for u, v in pairs.T.tolist()]
    assert loaded.age(pairs).tolist() == ages
    assert loaded.age(torch.tensor([[0], [0]])).isnan()  # no node is its own friend


@pytest.mark.parametrize("policy", ["reset", "carry"])
@pytest.mark.parametrize("variant", ["H", "O"])
@torch.no_grad()
def test_one_row_for_all_absent_nodes_gives_what_a_row_for_each_does(
    graph_spec: Make, friends: SnapshotSet, variant: str, policy: str
) -> None:
    spec = graph_spec(model={"variant": variant, "policy": policy, "hidden": 20})  # a summary of more rows than nodes
    prepared = prepare(spec, friends)
    network = GraphNetwork(spec.model, feature_width(spec.model, prepared.schema), window=3, directed=False)
    local, whole = (prepared.frames(spec.model, is_local=is_local) for is_local in (True, False))
    samples = range(20, 25)
    pairs = zip(network.judged(local, samples), network.judged(whole, samples), strict=True)
    for (sample, few), (_, all_rows) in pairs:
        torch.testing.assert_close(few[local[sample].place], all_rows, rtol=0, atol=1e-6)
    assert any(len(local[sample].graph.x) <= prepared.nodes for sample in range(30))  # some node is absent


def test_the_largest_degree_is_that_of_the_training_range(graph_spec: Make, friends: SnapshotSet) -> None:
    prepared = prepare(graph_spec(), friends)
    degrees = [int(torch.bincount(g.edge_index[0]).max()) for g in friends.snapshots[: prepared.ranges.train_end]]
    assert prepared.schema.degrees.largest == max(degrees)
    assert feature_width(graph_spec(model={"largest_degree": 2}).model, prepared.schema) == 3
