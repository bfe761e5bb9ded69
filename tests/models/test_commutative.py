import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from models.commutative import Add, BinaryGRU, Maximum, Operator, SecondMinimum

MONOIDS = [Add(), Maximum(), SecondMinimum()]
each_monoid = pytest.mark.parametrize("op", MONOIDS, ids=lambda op: type(op).__name__)


def rows(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def pairs(op: Operator, count: int) -> torch.Tensor:
    """Values that `op` can hold: of the second minimum, the smaller ones first."""
    values = rows(count, 2, 3)
    return values.sort(1).values.flatten(1) if isinstance(op, SecondMinimum) else values.flatten(1)


@given(width=st.integers(1, 70), count=st.integers(0, 200))
def test_the_gru_commutes_bit_for_bit(width, count):
    op, a, b = BinaryGRU(width).double(), rows(count, width), rows(count, width)
    assert torch.equal(op(a, b), op(b, a))


@given(count=st.integers(2, 40), turned=st.integers(0, 39))
def test_turning_one_pair_around_changes_no_bit_of_any_row(count, turned):
    op, a, b = BinaryGRU(16).double(), rows(count, 16), rows(count, 16)
    turn = (torch.arange(count) == turned % count).unsqueeze(1)
    assert torch.equal(op(torch.where(turn, b, a), torch.where(turn, a, b)), op(a, b))


def test_the_gru_is_the_mean_of_torchs_cell_in_both_orders_with_the_cells_own_weights():
    cell, op = nn.GRUCell(5, 5, dtype=torch.float64), BinaryGRU(5).double()
    op.load_state_dict(cell.state_dict())
    a, b = rows(7, 5), rows(7, 5)
    torch.testing.assert_close(op(a, b), (cell(a, b) + cell(b, a)) / 2, atol=1e-15, rtol=0)


def test_the_gru_starts_as_torchs_cell_does():
    torch.manual_seed(0)
    weight = nn.utils.parameters_to_vector(BinaryGRU(64).parameters())
    cell = nn.utils.parameters_to_vector(nn.GRUCell(64, 64).parameters())
    assert len(weight) == len(cell) == 24_960
    assert weight.abs().max() <= 1 / 8
    assert weight.std().item() == pytest.approx(1 / 8 / 3**0.5, rel=0.02)  # of a uniform law


def test_the_gru_never_leaves_the_box_of_its_operands_and_one():
    torch.manual_seed(0)
    op, a, b = BinaryGRU(8), 3 * torch.randn(500, 8), 3 * torch.randn(500, 8)
    with torch.no_grad():
        for parameter in op.parameters():
            parameter.mul_(10)
    bound = torch.maximum(a.abs(), b.abs()).clamp(min=1)
    assert (op(a, b).abs() <= bound * (1 + 1e-6)).all()  # 1e-6: rounding of a convex mean in float32


@each_monoid
def test_a_monoid_commutes_and_is_associative(op):
    a, b, c = pairs(op, 50), pairs(op, 50), pairs(op, 50)
    assert op.symmetric
    assert torch.equal(op(a, b), op(b, a))
    exact = 1e-12 if isinstance(op, Add) else 0
    torch.testing.assert_close(op(op(a, b), c), op(a, op(b, c)), atol=exact, rtol=0)


@each_monoid
def test_a_monoid_leaves_alone_what_meets_its_identity(op):
    a = pairs(op, 50)
    assert torch.equal(op(a, op.identity(6).to(a).expand_as(a)), a)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=8))
def test_the_second_minimum_is_the_second_of_the_sorted_values(values):
    op = SecondMinimum()
    held = op.encode(torch.tensor(values, dtype=torch.float64).view(-1, 1, 1))
    folded = held[0]
    for one in held[1:]:
        folded = op(folded, one)
    assert op.decode(folded).item() == sorted([*values, float("inf")])[1]


def test_an_operator_without_a_rule_says_what_it_lacks():
    with pytest.raises(NotImplementedError, match=r"Operator has no forward\(a, b\)"):
        Operator()(rows(1, 2), rows(1, 2))
