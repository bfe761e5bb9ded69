import torch
from hypothesis import given
from hypothesis import strategies as st

from data.segments import rows_of, shuffle_within

SIZES = st.lists(st.integers(0, 5), min_size=1, max_size=8)


@given(SIZES, st.data())
def test_the_rows_of_chosen_segments_are_theirs_in_the_order_chosen(sizes, data):
    ptr = torch.tensor([0, *sizes]).cumsum(0)
    chosen = data.draw(st.lists(st.integers(0, len(sizes) - 1), max_size=6))
    rows, begins = rows_of(ptr, torch.tensor(chosen, dtype=torch.long))
    slow = [range(int(ptr[s]), int(ptr[s + 1])) for s in chosen]
    assert rows.tolist() == [row for segment in slow for row in segment]
    assert begins.diff().tolist() == [len(segment) for segment in slow]


@given(SIZES, st.integers(0, 100))
def test_shuffling_keeps_every_row_in_its_segment(sizes, seed):
    index = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    order = shuffle_within(index, torch.Generator().manual_seed(seed))
    assert torch.equal(index[order], index)
    assert order.sort().values.tolist() == list(range(len(index)))


def test_every_order_of_a_segment_is_as_likely():
    """600 draws of 6 orders, 100 each: all between 60 and 140, four standard deviations."""
    generator = torch.Generator().manual_seed(0)
    orders = [tuple(shuffle_within(torch.tensor([0, 1, 1, 1]), generator).tolist()) for _ in range(600)]
    counts = [orders.count(order) for order in set(orders)]
    assert len(counts) == 6
    assert all(60 < count < 140 for count in counts)
