import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode

from models import pair_gates, pooled_fold
from models.commutative import BinaryGRU
from models.pair_gates import Fused
from models.pooled_fold import fold, fold_backward
from models.tree_plan import TreePlan, make_plan

DEGREES = [3, 0, 1, 7, 2, 16, 5, 33, 0, 4]
FORWARD_BUDGET, BACKWARD_BUDGET = 16, 36  # operations a level without fusion, views aside


def plan_of(degrees: list[int]) -> TreePlan:
    return make_plan(torch.tensor([0, *degrees]).cumsum(0), sum(degrees))


def cell(width: int = 6, dtype: torch.dtype = torch.float64) -> BinaryGRU:
    torch.manual_seed(0)
    return BinaryGRU(width).to(dtype)


def leaves(degrees: list[int], width: int = 6, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(sum(degrees), width, dtype=dtype, requires_grad=True)


def by_hand(op: BinaryGRU, x: Tensor, degrees: list[int]) -> Tensor:
    """A tree at a time, pair by pair, with torch's own cell."""

    def g(a: Tensor, b: Tensor) -> Tensor:
        return torch.gru_cell(a[None], b[None], op.weight_ih, op.weight_hh, op.bias_ih, op.bias_hh)[0]

    found = []
    for segment in x.split(degrees):
        rows = list(segment)
        while len(rows) > 1:
            met = [(g(a, b) + g(b, a)) / 2 for a, b in zip(rows[::2], rows[1::2], strict=False)]
            rows = met + rows[2 * len(met) :]
        found.append(rows[0] if rows else x.new_zeros(x.shape[1]))
    return torch.stack(found) + 0 * x.sum()  # of no rows, too, there is a graph


def gradients(out: Tensor, op: BinaryGRU, x: Tensor) -> tuple[Tensor, ...]:
    weight = torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view_as(out)
    return torch.autograd.grad((out * weight).sum(), [x, *op.parameters()], allow_unused=True, materialize_grads=True)


def arguments(op: BinaryGRU, x: Tensor, plan: TreePlan, chunk: int) -> tuple:
    """Of the operator under autograd."""
    left, right = [level.left for level in plan.levels], [level.right for level in plan.levels]
    start = [-1 if level.start is None else level.start for level in plan.levels]
    packed = [weight.detach() for weight in pooled_fold._packed(op)]
    return x.detach(), packed, left, right, start, plan.root, chunk


# ---------------------------------------------------------------- values and gradients


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(0, 20), min_size=1, max_size=8), st.integers(1, 9))
def test_results_and_gradients_are_those_of_folding_by_hand(degrees, chunk):
    op, x = cell(), leaves(degrees)
    expected, (out, _) = by_hand(op, x, degrees), pooled_fold.pooled_fold(op, x, plan_of(degrees), chunk=chunk)
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-14)
    torch.testing.assert_close(gradients(out, op, x), gradients(expected, op, x), rtol=0, atol=1e-13)


@pytest.mark.parametrize("degrees", [DEGREES, [8, 8, 8]], ids=["gathered", "neighbours"])
@pytest.mark.parametrize("read", ["out", "pool", "both"])
def test_the_gradient_is_that_of_finite_differences_whichever_result_is_read(degrees, read):
    op, x, plan = cell(3), leaves(degrees, 3), plan_of(degrees)
    parameters = list(op.parameters())

    def read_off(x: Tensor, *_: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        out, pool = pooled_fold.pooled_fold(op, x, plan, chunk=4)
        return {"out": out, "pool": pool, "both": (out, pool)}[read]

    assert torch.autograd.gradcheck(read_off, (x, *parameters), fast_mode=len(degrees) > 3, check_undefined_grad=False)


@pytest.mark.parametrize("degrees", [DEGREES, [16] * 4], ids=["gathered", "neighbours"])
@pytest.mark.parametrize("chunk", [1, 3, 32, None])
def test_the_size_of_a_chunk_changes_nothing(degrees, chunk):
    op, x, plan = cell(), leaves(degrees), plan_of(degrees)
    (out, pool), (expected, whole) = (pooled_fold.pooled_fold(op, x, plan, chunk=size) for size in (chunk, 10_000))
    torch.testing.assert_close((out, pool), (expected, whole), rtol=0, atol=1e-15)
    torch.testing.assert_close(gradients(out, op, x), gradients(expected, op, x), rtol=0, atol=1e-14)


def test_the_pool_is_the_leaves_and_then_what_each_level_makes():
    op, x, plan = cell(), leaves(DEGREES), plan_of(DEGREES)
    _, pool = pooled_fold.pooled_fold(op, x, plan)
    assert torch.equal(pool[: plan.leaves], x)
    left, right = plan.children
    torch.testing.assert_close(pool[plan.leaves :], op(pool[left], pool[right]), rtol=0, atol=1e-15)


def test_swapping_two_rows_that_meet_first_changes_no_bit():
    """Of a width that fills a processor's vectors; beyond them an operation may round another way."""
    degrees = [2, 2, 4, 6]
    op, x, plan = cell(8), leaves(degrees, 8), plan_of(degrees)
    swapped = x.unflatten(0, (-1, 2)).flip(1).flatten(0, 1)
    assert torch.equal(pooled_fold.pooled_fold(op, swapped, plan)[0], pooled_fold.pooled_fold(op, x, plan)[0])


def test_a_single_row_is_its_own_result_and_an_empty_segment_is_zero():
    op, x = cell(), leaves([1, 0])
    out, _ = pooled_fold.pooled_fold(op, x, plan_of([1, 0]))
    assert torch.equal(out, torch.stack([x[0], torch.zeros_like(x[0])]))
    d_x, *d_weights = torch.autograd.grad(out.sum(), [x, *op.parameters()])
    assert torch.equal(d_x, torch.ones_like(x))
    assert not any(weight.any() for weight in d_weights)


@pytest.mark.parametrize("degrees", [[], [0, 0]])
def test_no_rows_and_no_segments_are_folded_too(degrees):
    op, x = cell(), leaves(degrees)
    out, pool = pooled_fold.pooled_fold(op, x, plan_of(degrees))
    assert (out.shape, pool.shape) == ((len(degrees), 6), (0, 6))
    assert not out.any()
    assert gradients(out, op, x)[0].shape == (0, 6)


# ---------------------------------------------------------------- what must not leak


def test_a_segment_gives_the_same_whatever_else_is_in_the_batch():
    op, x = cell(), leaves(DEGREES)
    out, _ = pooled_fold.pooled_fold(op, x, plan_of(DEGREES))
    for segment, degree, together in zip(x.split(DEGREES), DEGREES, out, strict=True):
        alone, _ = pooled_fold.pooled_fold(op, segment, plan_of([degree]))
        torch.testing.assert_close(together, alone[0], rtol=0, atol=1e-15)


@pytest.mark.parametrize("degrees", [DEGREES, [8] * 5], ids=["gathered", "neighbours"])
def test_nan_in_one_segment_reaches_neither_results_nor_rows_of_another(degrees):
    op, spoiled, plan = cell(), leaves(degrees), plan_of(degrees)
    with torch.no_grad():
        spoiled[sum(degrees[:3])] = torch.nan
    out, _ = pooled_fold.pooled_fold(op, spoiled, plan, chunk=5)
    (d_x,) = torch.autograd.grad(out.sum(), spoiled)
    assert out.isnan().any(dim=1).nonzero().flatten().tolist() == [3]
    clean = [i for i in range(len(degrees)) if i != 3]
    assert not any(d_x.split(degrees)[i].isnan().any() for i in clean)


def test_the_same_inputs_give_the_same_bits_forward_and_backward():
    op, x, plan = cell(dtype=torch.float32), leaves(DEGREES, dtype=torch.float32), plan_of(DEGREES)
    first, second = (pooled_fold.pooled_fold(op, x, plan)[0] for _ in range(2))
    assert torch.equal(first, second)
    pairs = zip(gradients(first, op, x), gradients(second, op, x), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


# ---------------------------------------------------------------- what it costs


class Allocated(TorchDispatchMode):
    """Values in all storages that operations make, as if none were ever freed."""

    def __init__(self) -> None:
        super().__init__()
        self.values = self.largest = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        known = {
            t.untyped_storage().data_ptr() for t in torch.utils._pytree.tree_leaves((args, kwargs)) if is_tensor(t)
        }
        result = function(*args, **kwargs)
        for made in filter(is_tensor, torch.utils._pytree.tree_leaves(result)):
            if made.untyped_storage().data_ptr() not in known:
                self.values += made.untyped_storage().nbytes() // made.element_size()
                self.largest = max(self.largest, made.untyped_storage().nbytes() // made.element_size())
        return result


def is_tensor(value: object) -> bool:
    return isinstance(value, Tensor)


def test_a_star_and_isolated_nodes_take_two_pools_and_the_room_of_a_chunk():
    leaves_, isolated, width = 20_000, 2_000, 16
    plan, op = plan_of([leaves_] + [0] * isolated), cell(width, torch.float32)
    given = arguments(op, torch.randn(leaves_, width), plan, chunk=256)
    with Allocated() as seen:
        out, pool = fold(*given)
        fold_backward(torch.ones_like(out), None, pool, *given[1:])
    assert seen.largest <= (plan.rows + 1) * width
    # two pools of twice the leaves, a tenth of them in results and their gradient, rooms of 256 pairs
    assert seen.values < 5 * leaves_ * width


def operations(op: BinaryGRU, degrees: list[int], *, backward: bool) -> int:
    """Dispatched, views and bare allocations aside, as the profiler sees them."""
    x, plan = leaves(degrees, dtype=torch.float32), plan_of(degrees)
    out, _ = pooled_fold.pooled_fold(op, x, plan, chunk=10**6)
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        if backward:
            out.backward(torch.ones_like(out))
        else:
            pooled_fold.pooled_fold(op, x, plan, chunk=10**6)
    no_work = (
        "view",
        "select",
        "slice",
        "as_strided",
        "expand",
        "transpose",
        "t",
        "unflatten",
        "unbind",
        "chunk",
        "split",
    )
    no_work += ("empty", "empty_like", "new_empty", "resize_", "detach", "alias", "unsqueeze", "narrow", "mT")
    ignored = {f"aten::{name}" for name in no_work}
    # what an operation calls in turn is part of it
    top = [e for e in seen.events() if e.name.startswith("aten::") and not within(e, "aten::")]
    return sum(e.name not in ignored for e in top)


def within(event, prefix: str) -> bool:
    parent = event.cpu_parent
    return parent is not None and (parent.name.startswith(prefix) or within(parent, prefix))


@pytest.mark.parametrize(("backward", "budget"), [(False, FORWARD_BUDGET), (True, BACKWARD_BUDGET)])
def test_operations_grow_with_the_logarithm_of_the_largest_degree_alone(backward, budget):
    op = cell(dtype=torch.float32)
    small, large, twice = (operations(op, d, backward=backward) for d in ([16, 5], [4096, 5], [4096, 5] * 2))
    assert 8 * (budget - 5) <= large - small <= 8 * budget  # 4 levels and 12
    assert twice == large


@pytest.mark.parametrize("degrees", [DEGREES, [8] * 4], ids=["gathered", "neighbours"])
def test_with_a_plan_no_value_is_ever_looked_at(degrees):
    """On the meta device there are none to look at, so a wait of the host for the device would raise."""
    plan = plan_of(degrees).to("meta")
    given = arguments(cell().to("meta"), leaves(degrees).to("meta"), plan, chunk=4)
    out, pool = fold(*given)
    for d_pool in (None, torch.empty_like(pool)):
        d_x, _ = fold_backward(torch.empty_like(out), d_pool, pool, *given[1:])
        assert d_x.shape == given[0].shape


def test_a_gradient_of_the_pool_that_nobody_asks_for_is_not_made(monkeypatch):
    seen, original = [], pooled_fold._fold_backward
    monkeypatch.setattr(pooled_fold, "_fold_backward", lambda *given: seen.append(given[1]) or original(*given))
    pooled_fold.pooled_fold(cell(), leaves(DEGREES), plan_of(DEGREES))[0].sum().backward()
    assert seen == [None]


# ---------------------------------------------------------------- among torch's own parts


@pytest.mark.parametrize("of", ["forward", "backward"])
def test_torch_finds_the_operator_well_made(of):
    degrees = [3, 0, 1, 2]
    x, packed, *rest = arguments(cell(), leaves(degrees), plan_of(degrees), chunk=2)
    out, pool = fold(x, packed, *rest)
    checks = ("test_schema", "test_autograd_registration", "test_faketensor")  # the fourth compiles; that's done below
    if of == "forward":
        given = (x.requires_grad_(), [w.requires_grad_() for w in packed], *rest)
        torch.library.opcheck(pooled_fold._fold, given, test_utils=checks)
    else:
        given = (torch.ones_like(out), None, pool, packed, *rest)
        torch.library.opcheck(pooled_fold._fold_backward, given, test_utils=checks)


def test_a_compiled_graph_does_not_break_at_the_fold():
    op, x, plan = cell(), leaves(DEGREES), plan_of(DEGREES)

    def around(x: Tensor) -> Tensor:
        return pooled_fold.pooled_fold(op, 2 * x, plan)[0].sin()

    expected, out = around(x), torch.compile(around, backend="aot_eager", fullgraph=True)(x)
    assert torch.equal(out, expected)
    torch.testing.assert_close(gradients(out, op, x), gradients(expected, op, x), rtol=0, atol=1e-15)


def test_a_second_derivative_is_refused_by_name():
    x = leaves(DEGREES)
    out, _ = pooled_fold.pooled_fold(cell(), x, plan_of(DEGREES))
    (d_x,) = torch.autograd.grad(out.sum(), x, create_graph=True)
    with pytest.raises(NotImplementedError, match=r"second derivative.*tree_fold"):
        d_x.square().sum().backward()


def test_under_autocast_rows_of_half_precision_are_folded_in_full():
    op, x, plan = cell(dtype=torch.float32), leaves(DEGREES, dtype=torch.bfloat16), plan_of(DEGREES)
    expected, _ = pooled_fold.pooled_fold(op, x.float(), plan)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out, pool = pooled_fold.pooled_fold(op, x, plan)
        assert pool.dtype == torch.float32
        assert torch.equal(out, expected)
        assert gradients(out, op, x)[0].dtype == torch.bfloat16


def test_fused_functions_in_place_of_the_passes_fold_to_the_same(monkeypatch):
    op, x, plan = cell(), leaves(DEGREES), plan_of(DEGREES)
    expected, _ = pooled_fold.pooled_fold(op, x, plan, chunk=5)
    found = gradients(expected, op, x)
    monkeypatch.setattr(pair_gates, "_compiled", lambda function: function)
    monkeypatch.setattr(pooled_fold, "element_wise", lambda like, pairs: Fused())
    out, _ = pooled_fold.pooled_fold(op, x, plan, chunk=5)
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-15)
    torch.testing.assert_close(gradients(out, op, x), found, rtol=0, atol=1e-14)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU at hand")
def test_the_gpu_folds_to_the_same_without_waiting_for_the_host():
    op, x, plan = cell(dtype=torch.float32), leaves(DEGREES, dtype=torch.float32), plan_of(DEGREES)
    expected, _ = pooled_fold.pooled_fold(op, x, plan)
    d_x = gradients(expected, op, x)[0]
    op, there, plan = op.cuda(), x.detach().cuda().requires_grad_(), plan.to("cuda")
    pooled_fold.pooled_fold(op, there, plan)[0].sum().backward()  # compiles
    there.grad = None
    weight = torch.linspace(-1, 1, d_x.shape[1] * len(DEGREES)).view(len(DEGREES), -1).cuda()
    torch.cuda.set_sync_debug_mode("error")
    try:
        out, _ = pooled_fold.pooled_fold(op, there, plan)
        out.backward(weight)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    torch.testing.assert_close(out.cpu(), expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(there.grad.cpu(), d_x, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("shape", "chunk"), [((70, 6), None), ((71, 5), None), ((71, 6), 0)])
def test_rows_that_fit_neither_plan_nor_weights_are_refused(shape, chunk):
    with pytest.raises(ValueError, match="leaves|chunk"):
        pooled_fold.pooled_fold(cell(), torch.zeros(shape, dtype=torch.float64), plan_of(DEGREES), chunk=chunk)
