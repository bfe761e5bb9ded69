import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.tree_plan import TreePlan, make_plan

DEGREES = [3, 0, 1, 7, 2, 16, 5, 33, 0, 4]


def plan_of(degrees: list[int]) -> TreePlan:
    return make_plan(torch.tensor([0, *degrees]).cumsum(0), sum(degrees))


def texts(plan: TreePlan) -> list[str]:
    """What each row of the pool stands for, brackets and all."""
    pool = [str(i) for i in range(plan.leaves)]
    for level in plan.levels:
        assert level.first == len(pool)
        pool += [f"({pool[a]} {pool[b]})" for a, b in zip(level.left.tolist(), level.right.tolist(), strict=True)]
    return pool


def by_hand(rows: list[str]) -> str:
    while len(rows) > 1:
        rows = [f"({a} {b})" for a, b in zip(rows[::2], rows[1::2], strict=False)] + rows[len(rows) // 2 * 2 :]
    return rows[0]


@given(st.lists(st.integers(0, 40), max_size=12))
def test_each_segment_has_the_tree_of_pairing_its_rows_by_hand(degrees):
    plan, begin = plan_of(degrees), 0
    pool = texts(plan)
    for degree, root in zip(degrees, plan.root.tolist(), strict=True):
        rows = [str(i) for i in range(begin, begin + degree)]
        assert root == -1 if degree == 0 else pool[root] == by_hand(rows)
        begin += degree


@given(st.lists(st.integers(0, 40), max_size=12))
def test_every_row_but_the_roots_has_one_parent_and_where_pairs_are_neighbours_the_plan_knows(degrees):
    plan = plan_of(degrees)
    children = plan.children.flatten()
    roots = plan.root[plan.root >= 0]
    assert sorted([*children.tolist(), *roots.tolist()]) == list(range(plan.rows))
    for level in plan.levels:
        neighbours = torch.arange(2 * len(level.left)) + (level.start or 0)
        rows = torch.stack([level.left, level.right], dim=1).flatten()
        assert level.start is None or torch.equal(rows, neighbours)


def test_mixed_degrees_meet_as_often_as_the_specification_counts():
    plan = plan_of(DEGREES)
    assert [len(level.left) for level in plan.levels] == [33, 17, 8, 3, 1, 1]
    assert (plan.num_ops, plan.num_levels, plan.rows) == (63, 6, 71 + 63)


def test_a_regular_batch_is_read_without_a_gather():
    assert [level.start for level in plan_of([16] * 5).levels] == [0, 80, 120, 140]


def test_an_odd_row_costs_neighbourhood_on_its_own_level_and_the_next():
    assert [level.start for level in plan_of([12, 12]).levels] == [0, 24, None, None]


@given(st.lists(st.integers(0, 40), max_size=12))
def test_an_odd_row_waits_until_it_meets_and_no_other_row_does(degrees):
    plan = plan_of(degrees)
    for below, level, above in zip([None, *plan.levels], plan.levels, [*plan.levels[1:], None], strict=False):
        came = {*below.odd.tolist(), *range(below.first, level.first)} if below else set(range(plan.leaves))
        met = {*level.left.tolist(), *level.right.tolist()}
        assert {*level.odd.tolist()} == came - met - {*plan.root.tolist()}
        assert above is not None or not len(level.odd)


@given(st.lists(st.integers(0, 9), max_size=6), st.integers(1, 3))
def test_tiled_it_is_the_same_tree_for_each_of_the_rows_beside_each_other(degrees, times):
    plan, tiled = plan_of(degrees), plan_of(degrees).tiled(times)
    pool, trees = texts(plan), texts(tiled)
    assert tiled.segment.tolist() == [s * times + k for s in plan.segment.tolist() for k in range(times)]
    assert tiled.leaves == plan.leaves * times
    for s, root in enumerate(plan.root.tolist()):
        of_turns = tiled.root[s * times : (s + 1) * times].tolist()
        assert [trees[of] if of >= 0 else None for of in of_turns] == [
            re.sub(r"\d+", lambda leaf, k=k: str(int(leaf[0]) * times + k), pool[root]) if root >= 0 else None
            for k in range(times)
        ]
    for level, wide in zip(plan.levels, tiled.levels, strict=True):
        assert wide.odd.tolist() == [row * times + k for row in level.odd.tolist() for k in range(times)]


def test_a_plan_knows_the_segment_of_each_leaf():
    assert plan_of([2, 0, 1, 3]).segment.tolist() == [0, 0, 2, 3, 3, 3]


@pytest.mark.parametrize(("ptr", "leaves"), [([0, 3, 2, 4], 4), ([1, 3], 3), ([0, 3], 4), ([], 0), ([0, 5], 4)])
def test_a_pointer_that_does_not_fit_the_rows_is_refused(ptr, leaves):
    with pytest.raises(ValueError, match="ptr"):
        make_plan(torch.tensor(ptr, dtype=torch.int64), leaves)


def test_a_pointer_to_no_segments_is_a_plan():
    plan = make_plan(torch.tensor([0]), 0)
    assert (plan.num_levels, plan.rows, len(plan.root), plan.children.shape) == (0, 0, 0, (2, 0))


def test_a_star_of_a_million_leaves_is_planned_in_twenty_levels():
    assert plan_of([1_000_000] + [0] * 10_000).num_levels == 20
