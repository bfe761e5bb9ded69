"""Find exact duplicates among many rows without holding the rows.

Rows that are equal have equal hashes, so a first pass keeps 64 bits a row and gives the few hashes that occur more
than once; a second pass compares the rows that have one of these, cell by cell.
"""

from collections.abc import Sequence

import polars as pl

COPIES = "copies"
HASH = "flockcast:hash"


def extra_copies(rows: pl.LazyFrame, columns: Sequence[str], carried: Sequence[str] = ()) -> pl.DataFrame:
    """Each row that occurs more than once over `columns`, once, and in `copies` how often beyond the first.

    `carried` are columns that `columns` determine, to be kept.
    """
    hashed = rows.with_columns(pl.struct(columns).hash().alias(HASH))
    counted = hashed.group_by(HASH).len(COPIES).filter(pl.col(COPIES) > 1)
    suspects = counted.select(HASH).collect(engine="streaming").to_series()
    suspected = (
        hashed.filter(pl.col(HASH).is_in(suspects.implode())).select(*columns, *carried).collect(engine="streaming")
    )
    groups = suspected.group_by(columns, maintain_order=True)
    copies = groups.agg(*(pl.col(name).first() for name in carried), (pl.len().cast(pl.Int64) - 1).alias(COPIES))
    return copies.filter(pl.col(COPIES) > 0)
