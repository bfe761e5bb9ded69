import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from models.commutative import Add, BinaryGRU, Maximum, Operator, SecondMinimum
from models.tree_fold import fold, segment_values
from models.tree_plan import TreePlan, make_plan

DEGREES = [3, 0, 1, 7, 2, 16, 5, 33, 0, 4]
POWERS = st.sampled_from([0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33])
ragged = st.lists(POWERS, min_size=1, max_size=8)


def plan_of(degrees: list[int]) -> TreePlan:
    return make_plan(torch.tensor([0, *degrees]).cumsum(0), sum(degrees))


def folded(op: Operator, x: Tensor, degrees: list[int]) -> Tensor:
    plan = plan_of(degrees)
    return segment_values(fold(op, x, plan), plan)


def by_hand(op: Operator, rows: list[Tensor]) -> Tensor:
    """One tree, pair by pair."""
    while len(rows) > 1:
        met = [op(a[None], b[None])[0] for a, b in zip(rows[::2], rows[1::2], strict=False)]
        rows = met + rows[len(rows) // 2 * 2 :]
    return rows[0]


def trees_by_hand(op: Operator, x: Tensor, degrees: list[int]) -> Tensor:
    return torch.stack([by_hand(op, list(of)) if len(of) else x.new_zeros(x.shape[1]) for of in x.split(degrees)])


class Counted(Operator):
    """An operator that notes how many rows it is called on."""

    def __init__(self, op: Operator) -> None:
        super().__init__()
        self.op, self.calls = op, []

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        self.calls.append(len(a))
        return self.op(a, b)


class Dispatched(TorchDispatchMode):
    """How many operations torch runs that are not views, and the most bytes that one gives."""

    def __init__(self) -> None:
        super().__init__()
        self.count = self.largest = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        self.count += not func.is_view
        for each in result if isinstance(result, (tuple, list)) else [result]:
            self.largest = max(self.largest, each.untyped_storage().nbytes() if isinstance(each, Tensor) else 0)
        return result


@given(ragged)
def test_a_fold_with_addition_is_the_sum_of_each_segment(degrees):
    x = torch.randn(sum(degrees), 3, dtype=torch.float64)
    sums = torch.stack([of.sum(0) for of in x.split(degrees)])
    torch.testing.assert_close(folded(Add(), x, degrees), sums, atol=1e-12, rtol=0)


@given(ragged)
def test_a_fold_with_the_maximum_is_the_maximum_of_each_segment_exactly(degrees):
    x = torch.randn(sum(degrees), 3, dtype=torch.float64)
    highest = torch.stack([of.max(0).values if len(of) else x.new_zeros(3) for of in x.split(degrees)])
    assert torch.equal(folded(Maximum(), x, degrees), highest)


@given(ragged)
def test_a_fold_with_the_second_minimum_is_the_second_of_each_sorted_segment(degrees):
    x = torch.randn(sum(degrees), 3, dtype=torch.float64)
    second = SecondMinimum.decode(folded(SecondMinimum(), SecondMinimum.encode(x), degrees))
    for of, found in zip(x.split(degrees), second, strict=True):
        several = torch.cat([of, torch.full((2, 3), math.inf)]).sort(0).values[1]
        assert torch.equal(found, several if len(of) else torch.zeros(3, dtype=torch.float64))


def test_values_and_gradients_are_those_of_trees_folded_by_hand():
    torch.manual_seed(0)
    op, x = BinaryGRU(6).double(), torch.randn(sum(DEGREES), 6, dtype=torch.float64, requires_grad=True)
    weigh = torch.randn(len(DEGREES), 6, dtype=torch.float64)
    inputs = [x, *op.parameters()]
    fast, slow = folded(op, x, DEGREES), trees_by_hand(op, x, DEGREES)
    torch.testing.assert_close(fast, slow, atol=1e-14, rtol=0)
    gradients = zip(*(torch.autograd.grad((out * weigh).sum(), inputs) for out in (fast, slow)), strict=True)
    for quick, plain in gradients:
        torch.testing.assert_close(quick, plain, atol=1e-13, rtol=1e-13)  # sums over 63 meetings in another order


def test_every_row_of_the_pool_is_what_its_children_make_of_each_other():
    op, plan = BinaryGRU(4).double(), plan_of(DEGREES)
    x = torch.randn(plan.leaves, 4, dtype=torch.float64)
    pool = fold(op, x, plan)
    left, right = plan.children
    assert torch.equal(pool[: plan.leaves], x)
    torch.testing.assert_close(pool[plan.leaves :], op(pool[left], pool[right]), atol=1e-14, rtol=0)


def test_it_has_correct_first_and_second_derivatives():
    torch.manual_seed(0)
    degrees, op = [3, 0, 1, 5, 2], BinaryGRU(2).double()

    def of(x: Tensor, *weights: Tensor) -> Tensor:
        named = dict(zip(dict(op.named_parameters()), weights, strict=True))
        plan = plan_of(degrees)
        return segment_values(fold(lambda a, b: torch.func.functional_call(op, named, (a, b)), x, plan), plan)

    x = torch.randn(sum(degrees), 2, dtype=torch.float64, requires_grad=True)
    inputs = [x, *(parameter.detach().requires_grad_() for parameter in op.parameters())]
    assert torch.autograd.gradcheck(of, inputs)
    assert torch.autograd.gradgradcheck(of, inputs)


def test_the_two_rows_of_a_leaf_pair_may_change_places():
    op, x = BinaryGRU(8).double(), torch.randn(sum(DEGREES), 8, dtype=torch.float64)
    turned = x.clone()
    turned[[4, 5]] = x[[5, 4]]  # the first pair of the segment of seven
    assert torch.equal(folded(op, turned, DEGREES), folded(op, x, DEGREES))


def test_the_operator_sees_as_many_rows_as_meet_and_once_a_level():
    op = Counted(Add())
    folded(op, torch.randn(sum(DEGREES), 2), DEGREES)
    assert op.calls == [33, 17, 8, 3, 1, 1]
    assert sum(op.calls) == 71 - 8


def test_a_level_more_costs_a_fixed_number_of_launches():
    few, many = launches([15]), launches([4095])  # odd rows on every level, so nothing is read in place
    assert many - few <= 8 * (16 + 11)  # of the operator, and to gather its rows and place what it gives


@pytest.mark.parametrize("degrees", [[37, 5, 12, 0], [37, 5, 12, 0] * 2, [37] + [31] * 9 + [5, 12, 0]])
def test_launches_depend_on_the_largest_segment_alone(degrees):
    assert launches(degrees) == launches([37, 5, 12, 0])


def launches(degrees: list[int]) -> int:
    op, x, plan = BinaryGRU(4), torch.randn(sum(degrees), 4), plan_of(degrees)
    with torch.no_grad(), Dispatched() as ran:
        segment_values(fold(op, x, plan), plan)
    return ran.count


def test_no_tensor_of_a_star_is_larger_than_its_pool():
    plan = plan_of([1_000_000] + [0] * 10_000)
    x = torch.ones(plan.leaves, 2)
    with torch.no_grad(), Dispatched() as ran:
        values = segment_values(fold(Add(), x, plan), plan)
    assert values[0, 0] == 1_000_000
    assert ran.largest <= plan.rows * 2 * 4 + plan.rows * 8  # bytes of its values and of their places


@pytest.mark.parametrize("degrees", [[], [0], [0, 0, 0], [1], [1, 0, 1]])
def test_a_batch_without_a_meeting_folds_to_its_rows(degrees):
    x = torch.randn(sum(degrees), 3)
    out = folded(BinaryGRU(3), x, degrees)
    assert out.shape == (len(degrees), 3)
    assert torch.equal(out[torch.tensor(degrees, dtype=torch.long) == 1], x)
