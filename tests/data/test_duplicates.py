from collections import Counter

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from data.duplicates import COPIES, extra_copies

cells = st.one_of(st.none(), st.sampled_from([0.0, 1.0, 2.5]))


@given(st.lists(st.tuples(cells, st.sampled_from(["a", "b", None])), max_size=30))
def test_exactly_the_later_ones_of_equal_rows_are_found(rows):
    """The second way is a Python counter."""
    frame = pl.LazyFrame(rows, schema={"x": pl.Float64, "y": pl.String}, orient="row")
    found = extra_copies(frame, ["x", "y"])
    expected = {row: count - 1 for row, count in Counter(rows).items() if count > 1}
    assert {(x, y): copies for x, y, copies in found.select("x", "y", COPIES).iter_rows()} == expected


def test_columns_that_are_not_compared_are_carried():
    frame = pl.LazyFrame({"x": [1, 1, 2], "meaning": ["one", "one", "two"]})
    assert extra_copies(frame, ["x"], carried=["meaning"]).to_dict(as_series=False) == {
        "x": [1],
        "meaning": ["one"],
        COPIES: [1],
    }
