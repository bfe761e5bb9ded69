"""What the steps of an epoch are about."""

import pytest
import torch

from pipelines.steps import one_window_a_step, shuffled


def test_shuffled_steps_have_every_sample_once_and_the_seed_says_where() -> None:
    plan = shuffled(10, 4)
    steps = plan(3)
    assert [len(step.samples) for step in steps] == [4, 4, 2]
    assert sorted(torch.cat([step.samples for step in steps]).tolist()) == list(range(10))
    assert all(torch.equal(a.samples, b.samples) for a, b in zip(steps, plan(3), strict=True))
    assert any(not torch.equal(a.samples, b.samples) for a, b in zip(steps, plan(4), strict=True))


@pytest.mark.parametrize(("nodes", "size", "groups"), [(70, 32, [35, 35]), (20, 32, [20]), (100, 32, [34, 33, 33])])
def test_each_group_of_nodes_sees_the_windows_from_the_oldest_to_the_newest(nodes, size, groups) -> None:
    steps = one_window_a_step(5, nodes, size)(0)
    assert [step.samples.tolist() for step in steps] == [[0], [1], [2], [3], [4]] * len(groups)
    found = [step.nodes for step in steps[::5]]
    assert [len(group) for group in found] == groups
    assert sorted(torch.cat(found).tolist()) == list(range(nodes))


def test_nodes_that_can_not_be_parted_stay_together() -> None:
    assert [step.nodes for step in one_window_a_step(2, None, 32)(0)] == [None, None]
