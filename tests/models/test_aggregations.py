"""What every aggregation promises, whichever name it has, and how the ones written here differ from PyG's."""

from itertools import pairwise
from typing import Any, get_args

import pytest
import torch
from torch import Tensor, nn

from models.aggregations import PNA, AggregationName, both, make_aggregation, shuffled

C = 4
DEGREES = [3, 0, 1, 7, 2, 16, 5, 0]
NAMES = get_args(AggregationName)
named = pytest.mark.parametrize("name", NAMES)


def aggregation(name: Any) -> nn.Module:
    torch.manual_seed(0)
    made = make_aggregation(name, C).double().eval()
    if isinstance(made, PNA):
        made.fit(torch.tensor(DEGREES))
    return made


def segments(degrees: list[int] = DEGREES) -> tuple[Tensor, Tensor, Tensor]:
    """Rows, index and ptr."""
    torch.manual_seed(1)
    degree = torch.tensor(degrees, dtype=torch.long)
    index = torch.arange(len(degree)).repeat_interleave(degree)
    return torch.randn(len(index), C).double(), index, starts(degree)


def starts(degree: Tensor) -> Tensor:
    return nn.functional.pad(degree.cumsum(0), (1, 0))


@named
def test_what_comes_out_is_the_segments_own(name: str) -> None:
    """Alone it is the same as beside others, and what is no number stays where it is."""
    made, (x, index, ptr) = aggregation(name), segments()
    whole = made(x, index, ptr)
    for s, (begin, end) in enumerate(pairwise(ptr)):
        alone = made(x[begin:end], index[begin:end] - s, torch.tensor([0, int(end - begin)]))
        torch.testing.assert_close(alone[0], whole[s])
    spoilt = x.clone()
    spoilt[index == 3] = torch.nan
    sick = made(spoilt, index, ptr)
    assert sick[3].isnan().any()
    others = torch.arange(len(DEGREES)) != 3
    torch.testing.assert_close(sick[others], whole[others])


@named
def test_index_and_ptr_say_the_same(name: str) -> None:
    made, (x, index, ptr) = aggregation(name), segments()
    whole = made(x, index, ptr)
    torch.testing.assert_close(made(x, index=index, dim_size=len(DEGREES)), whole)
    torch.testing.assert_close(made(x, ptr=ptr), whole)


@named
@pytest.mark.parametrize("count", [0, 1, 5])
def test_no_rows_at_all_are_an_answer_too(name: str, count: int) -> None:
    made, (x, index, ptr) = aggregation(name), segments([0] * count)
    x.requires_grad_()
    out = made(x, index, ptr)
    assert out.shape == (count, C)
    (out.sum() + x.sum()).backward()
    if name != "lcm":
        assert not out.any()


@named
def test_an_empty_segment_gives_zeros_unless_it_is_learned(name: str) -> None:
    made, (x, index, ptr) = aggregation(name), segments()
    out = made(x, index, ptr)
    if name != "lcm":
        assert not out[[1, 7]].any()
    assert torch.equal(out[1], out[7])


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("gru", "lcm")])
def test_the_order_of_the_rows_does_not_count(name: str) -> None:
    made, (x, index, ptr) = aggregation(name), segments()
    torch.testing.assert_close(made(x[shuffled(index)], index, ptr), made(x, index, ptr))


def test_pna_is_the_papers_twelve_numbers() -> None:
    """Against a loop over the nodes, with the maps of equation 7 written out."""
    made, (x, index, ptr) = aggregation("pna"), segments()
    delta = torch.tensor(DEGREES).double().log1p().mean()
    for s, out in enumerate(made(x, index, ptr)):
        rows = x[index == s]
        if not len(rows):
            continue
        spread = rows.std(0, correction=0)
        four = torch.cat([rows.mean(0), rows.amin(0), rows.amax(0), spread])
        scale = torch.tensor(len(rows)).double().log1p() / delta
        expected = made.output(torch.cat([four, four * scale, four / scale]))
        torch.testing.assert_close(out, expected, rtol=1e-6, atol=1e-6)  # delta is kept in single precision


def test_pna_asks_for_the_degrees_and_keeps_them() -> None:
    fresh, (x, index, ptr) = PNA(C).double(), segments()
    with pytest.raises(ValueError, match="call fit"):
        fresh(x, index, ptr)
    fresh.load_state_dict(aggregation("pna").state_dict())
    assert torch.equal(fresh(x, index, ptr), aggregation("pna")(x, index, ptr))
    fresh.fit(torch.zeros(3))
    assert fresh(x, index, ptr).isfinite().all()


def test_the_gru_is_torchs_own_on_each_segment() -> None:
    made, (x, index, ptr) = aggregation("gru"), segments()
    out = made(x, index, ptr)
    for s in range(len(DEGREES)):
        rows = x[index == s]
        if len(rows):
            torch.testing.assert_close(out[s], made.gru(rows)[1][0])


def test_the_gru_shuffles_in_training_alone() -> None:
    made, (x, index, ptr) = aggregation("gru"), segments()
    assert torch.equal(made(x, index, ptr), made(x, index, ptr))
    made.train()
    one, other = made(x, index, ptr), made(x, index, ptr)
    assert not torch.allclose(one[5], other[5])
    assert torch.equal(one[2], other[2])  # a single row has one order


def test_a_shuffle_is_one_of_rows_within_their_segments() -> None:
    _, index, _ = segments()
    orders = torch.stack([shuffled(index) for _ in range(2000)])
    assert torch.equal(index[orders], index.expand_as(orders))
    assert torch.equal(orders.sort(dim=1).values, torch.arange(len(index)).expand_as(orders))
    first = orders[:, 4].bincount(minlength=len(index))[4:11]  # the seven rows of segment 3, in its first place
    expected = 2000 / 7
    assert ((first - expected).abs() < 5 * (expected * 6 / 7) ** 0.5).all()


@named
def test_every_row_and_every_weight_has_a_gradient(name: str) -> None:
    made, (x, index, ptr) = aggregation(name), segments()
    x.requires_grad_()
    (made(x, index, ptr) * torch.randn(len(DEGREES), C).double()).sum().backward()
    assert x.grad is not None
    if name != "max":
        assert x.grad.any(1).all()
    assert not [name for name, weight in made.named_parameters() if weight.grad is None or not weight.grad.any()]


def test_rows_without_order_and_names_without_meaning_are_refused() -> None:
    with pytest.raises(ValueError, match="sort the edges by their target"):
        both(torch.tensor([1, 0]), None, 2)
    with pytest.raises(ValueError, match="names segment 4 but dim_size is 3"):
        both(torch.tensor([0, 4]), None, 3)
    with pytest.raises(ValueError, match="pass index or ptr"):
        both(None, None, 2)
    with pytest.raises(ValueError, match="no aggregation is called 'median'"):
        make_aggregation("median", C)  # type: ignore[arg-type]
