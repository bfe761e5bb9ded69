"""Bound what one privacy unit (a person and a period, say) adds to counts, before anything is counted.

Which trips of a unit count is decided by a keyed hash of each trip: its HMAC-SHA256 under a secret key is its place in
the unit's own order. The order of a unit's trips depends on these trips, the key and the name of the release, on
nothing else. So removing a person changes no other person's selection, a rerun selects the same trips, and nobody
without the key can foresee which ones.

`release` stands where a version of the data set might be expected. It must be a public name, as of a spec and its
revision, and never a hash of raw rows: such a hash changes when one person's rows vanish, and with it the selection of
everybody, so that one person would move all counts and no noise for k trips would hide that.
"""

import hmac
import json
from collections.abc import Sequence

import polars as pl

ORDER = "flockcast:order"


def bound_contributions(
    trips: pl.DataFrame,
    *,
    unit: Sequence[str],
    cells: Sequence[Sequence[str]],
    trip: Sequence[str],
    most_per_unit: int,
    most_per_cell: int,
    secret: bytes,
    release: str,
) -> pl.DataFrame:
    """The trips that count: at most `most_per_unit` of each unit, of these at most `most_per_cell` in one cell.

    `unit` are the columns that make a unit. Each of `cells` is a list of columns that make a kind of cell: a trip
    counts in one cell of each kind, and none of them may hold more of a unit. `trip` are the columns that tell a unit's
    trips apart, without nulls; trips alike in all of them must be alike in their cells too, so that it does not matter
    which of them counts. Rows stay in their order.
    Raises ValueError for a bound below 1.
    """
    if most_per_unit < 1 or most_per_cell < 1:
        raise ValueError(f"at most {most_per_unit} trips and {most_per_cell} a cell would leave nothing to count")
    ordered = trips.with_columns(_order(trips.select(trip), secret, release))
    fits = [pl.col(ORDER).rank("ordinal").over(*unit, *cell) <= most_per_cell for cell in cells]
    fitting = ordered.filter(pl.all_horizontal(fits))
    return fitting.filter(pl.col(ORDER).rank("ordinal").over(*unit) <= most_per_unit).drop(ORDER)


def _order(trips: pl.DataFrame, secret: bytes, release: str) -> pl.Series:
    """The first 64 bits of each trip's keyed hash; two that agree in them are taken in either order."""
    plain = trips.with_columns(pl.col(pl.Datetime).dt.epoch("us"))
    places = [
        int.from_bytes(hmac.digest(secret, json.dumps([release, *row]).encode(), "sha256")[:8], "big")
        for row in plain.iter_rows()
    ]
    return pl.Series(ORDER, places, dtype=pl.UInt64)
