import pytest
import torch
from torch import Tensor, nn

from models.commutative import Add, BinaryGRU, Maximum, Operator, SecondMinimum
from models.lcm_penalties import associativity_penalty, commutativity_penalty, neutrality_penalty
from models.tree_fold import fold
from models.tree_plan import TreePlan, make_plan

DEGREES = [3, 0, 1, 7, 2, 16, 5, 33, 0, 4]


class Uneven(Operator):
    """Neither commutative nor associative."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return (self.a(a) + self.b(b)).tanh()


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def plan_of(degrees: list[int]) -> TreePlan:
    return make_plan(torch.tensor([0, *degrees]).cumsum(0), sum(degrees))


def pool_of(op: Operator, plan: TreePlan, width: int = 4) -> Tensor:
    return fold(op, torch.randn(plan.leaves, width, dtype=torch.float64), plan)


def terms_by_hand(op: Operator, pool: Tensor, plan: TreePlan) -> list[Tensor]:
    """Appendix E, one node at a time."""
    children = dict(enumerate(plan.children.T.tolist(), start=plan.leaves))
    meet = lambda x, y: op(x[None], y[None])[0]  # noqa: E731
    square = lambda x, y: (x - y).square().sum()  # noqa: E731
    terms = []
    for left, right in children.values():
        if left < plan.leaves:
            continue
        (a, b), c = pool[children[left]], pool[right]
        if right >= plan.leaves:
            c, d = pool[children[right]]
            terms.append(square(meet(meet(b, c), d), meet(b, meet(c, d))))
        terms.append(square(meet(meet(a, b), c), meet(a, meet(b, c))))
    return terms


@pytest.mark.parametrize("op", [Add(), Maximum(), SecondMinimum()], ids=lambda op: type(op).__name__)
def test_an_exact_monoid_is_charged_nothing_for_associativity(op):
    plan = plan_of(DEGREES)
    x = torch.randn(plan.leaves, 2, dtype=torch.float64)
    pool = fold(op, torch.cat([x, x + 1], dim=1), plan)
    assert associativity_penalty(op, pool, plan).item() <= (1e-25 if isinstance(op, Add) else 0)  # squared rounding


@pytest.mark.parametrize("degrees", [DEGREES, [3], [4], [5, 6], [2, 9], [8, 8]], ids=str)
@pytest.mark.parametrize("make", [BinaryGRU, Uneven])
def test_associativity_is_the_mean_over_terms_found_node_by_node(degrees, make):
    op, plan = make(4).double(), plan_of(degrees)
    pool = pool_of(op, plan)
    terms = terms_by_hand(op, pool, plan)
    torch.testing.assert_close(associativity_penalty(op, pool, plan), torch.stack(terms).mean())


def test_its_gradient_reaches_the_messages_and_all_weights_as_the_terms_do():
    op, plan = BinaryGRU(3).double(), plan_of([7, 4, 1])
    x = torch.randn(plan.leaves, 3, dtype=torch.float64, requires_grad=True)
    inputs = [x, *op.parameters()]
    pool = fold(op, x, plan)
    quick = torch.autograd.grad(associativity_penalty(op, pool, plan), inputs, retain_graph=True)
    plain = torch.autograd.grad(torch.stack(terms_by_hand(op, pool, plan)).mean(), inputs)
    for one, other in zip(quick, plain, strict=True):
        torch.testing.assert_close(one, other)
        assert one.abs().max() > 0


def test_a_share_of_the_nodes_estimates_the_whole_without_bias():
    op, plan = BinaryGRU(4).double(), plan_of(DEGREES)
    with torch.no_grad():
        pool = pool_of(op, plan)
        whole = associativity_penalty(op, pool, plan)
        drawn = torch.stack([associativity_penalty(op, pool, plan, 0.2) for _ in range(200)])
    assert (drawn.mean() - whole).abs() < 3 * drawn.std() / 200**0.5
    assert drawn.std() > 0.02 * whole  # a share is not the whole


def test_minimised_alone_the_charge_for_associativity_falls():
    op, plan = BinaryGRU(4).double(), plan_of([16] * 4)
    x = torch.randn(plan.leaves, 4, dtype=torch.float64)
    adam = torch.optim.Adam(op.parameters(), lr=1e-2)
    charges = []
    for _ in range(200):
        charge = associativity_penalty(op, fold(op, x, plan), plan)
        adam.zero_grad()
        charge.backward()
        adam.step()
        charges.append(charge.item())
    assert charges[-1] < 0.1 * charges[0]


def test_associativity_is_two_calls_of_the_operator_however_deep_the_trees():
    calls = []
    op, plan = Add(), plan_of([33, 16])
    op.register_forward_hook(lambda module, rows, out: calls.append(len(out)))
    pool = torch.randn(plan.rows, 2)
    associativity_penalty(op, pool, plan)
    nodes = plan.num_ops - len(plan.levels[0].left)
    assert calls == [3 * nodes, 2 * nodes]


@pytest.mark.parametrize("degrees", [[], [0, 1], [2, 2]])
def test_trees_of_no_three_leaves_are_charged_nothing_for_associativity(degrees):
    plan = plan_of(degrees)
    assert associativity_penalty(Add(), torch.randn(plan.rows, 2), plan) == 0


def test_commutativity_is_the_mean_over_all_that_met():
    op, plan = Uneven(4).double(), plan_of(DEGREES)
    pool = pool_of(op, plan)
    each = [(pool[v] - op(pool[b][None], pool[a][None])[0]).square().sum() for v, (a, b) in met(plan)]
    torch.testing.assert_close(commutativity_penalty(op, pool, plan), torch.stack(each).mean())
    assert commutativity_penalty(op, pool[:2], plan_of([1, 1])) == 0


def met(plan: TreePlan) -> list[tuple[int, list[int]]]:
    return list(enumerate(plan.children.T.tolist(), start=plan.leaves))


def test_neutrality_is_the_mean_over_leaves_of_what_the_identity_does_to_them():
    op, x, e = BinaryGRU(4).double(), torch.randn(9, 4, dtype=torch.float64), torch.randn(4, dtype=torch.float64)
    each = [(op(row[None], e[None])[0] - row).square().sum() for row in x]
    torch.testing.assert_close(neutrality_penalty(op, x, e), torch.stack(each).mean())
    assert neutrality_penalty(Maximum(), x, Maximum().identity(4).double()) == 0
    assert neutrality_penalty(op, x[:0], e) == 0


def test_neutrality_of_many_leaves_is_estimated_on_some():
    x = torch.arange(10_000.0).unsqueeze(1)
    seen = []
    op = Add()
    op.register_forward_hook(lambda module, rows, out: seen.append(rows[0].flatten()))
    neutrality_penalty(op, x, torch.zeros(1))
    assert len(seen[0].unique()) == 4096
    assert seen[0].mean().item() == pytest.approx(5000, abs=5 * 10_000 / 12**0.5 / 64)
