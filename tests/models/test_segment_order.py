from itertools import permutations

import torch
from hypothesis import given
from hypothesis import strategies as st

from models.segment_order import canonical_order, random_order

SEGMENT = torch.tensor([0, 0, 0, 2, 3, 3, 3, 3, 5])


@given(st.lists(st.integers(0, 6), max_size=30).map(sorted), st.integers(1, 3))
def test_a_random_order_keeps_every_row_in_its_segment(segment, orders):
    segment = torch.tensor(segment, dtype=torch.long)
    order = random_order(segment, orders)
    assert order.shape == (len(segment), orders)
    assert torch.equal(segment[order], segment.unsqueeze(1).expand_as(order))
    assert torch.equal(order.sort(0).values, torch.arange(len(segment)).unsqueeze(1).expand_as(order))


def test_all_orders_of_a_segment_are_as_likely_as_each_other():
    """24 orders of four rows, 4,800 draws: each 200 times with a standard deviation of 14."""
    torch.manual_seed(0)
    order = random_order(SEGMENT, 4800)[4:8]  # the segment of four
    _, counts = (order * 10 ** torch.arange(4).unsqueeze(1)).sum(0).unique(return_counts=True)
    assert len(counts) == 24
    assert (counts - 200).abs().max() < 5 * 14


def test_columns_are_mixed_by_themselves():
    order = random_order(torch.zeros(20, dtype=torch.long), 2)
    assert not torch.equal(order[:, 0], order[:, 1])


@given(st.integers(0, 1000))
def test_the_canonical_order_reads_the_same_rows_however_they_are_stored(seed):
    torch.manual_seed(seed)
    x = torch.randn(len(SEGMENT), 2, 5, dtype=torch.float64)
    stored = random_order(SEGMENT, 1).squeeze(1)
    assert torch.equal(read(x[stored]), read(x))


def test_the_canonical_order_of_a_segment_is_not_that_of_its_storage():
    x = torch.randn(100, 1, 5)
    assert not torch.equal(canonical_order(x, torch.zeros(100, dtype=torch.long)).squeeze(1), torch.arange(100))


def test_heads_are_ordered_by_what_they_hold_themselves():
    x = torch.randn(len(SEGMENT), 2, 5)
    assert torch.equal(read(x)[:, 1:], read(x[:, 1:]))


def test_rows_that_tie_in_the_first_projection_are_ordered_by_the_second():
    first = torch.randn(2, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)[0]
    across = torch.stack([first[1], -first[0]])  # at right angles to it; of powers of two the key is zero exactly
    x = (across * torch.tensor([[4.0], [1.0], [2.0]], dtype=torch.float64)).unsqueeze(1)
    segment = torch.zeros(3, dtype=torch.long)
    sorted_rows = [x[list(stored)][canonical_order(x[list(stored)], segment)] for stored in permutations(range(3))]
    assert all(torch.equal(rows, sorted_rows[0]) for rows in sorted_rows)


def read(x: torch.Tensor) -> torch.Tensor:
    order = canonical_order(x, SEGMENT)
    return x.gather(0, order.unsqueeze(2).expand_as(x))
