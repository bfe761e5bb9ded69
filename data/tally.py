"""Count judged rows once each: into a cell where they count, under a reason where they do not.

Rows are never held: they are read in streaming passes (cells; hashes; suspected duplicates; examples of each reason).
What grows is the number of distinct cells and 64 bits a row.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from data.dataset import Rejections
from data.duplicates import COPIES, extra_copies
from data.rejections import DUPLICATE, gather_examples

# Columns that judging adds to those of the file; the prefix keeps them apart from whatever the file has.
OUR = "flockcast:"
REASON = OUR + "reason"
ROWS = "rows"


@dataclass(frozen=True)
class Tally:
    """`cells` has the key columns, then `rows` and the sums of the rows that count, one row a cell, sorted."""

    cells: pl.DataFrame
    rejections: Rejections
    rows_read: int
    rows_used: int


def tally(
    judged: pl.LazyFrame,
    keys: Mapping[str, pl.Expr],
    sums: Mapping[str, pl.Expr],
    reasons: Sequence[str],
    examples: int,
) -> Tally:
    """Group the rows of `judged` by `keys`, summing `sums`; the later ones of exactly equal rows are duplicates.

    `judged` has the columns of the file, by all of which rows are compared, and those that begin with `OUR`: among
    them REASON, null where the row counts. `reasons` are in order of precedence.
    """
    names = judged.collect_schema().names()
    of_file, ours = [n for n in names if not n.startswith(OUR)], [n for n in names if n.startswith(OUR)]
    copies = extra_copies(judged.filter(pl.col(REASON).is_null()), of_file, carried=ours)
    found = cells_by_reason(judged.with_columns(pl.lit(1, pl.Int64).alias(COPIES)), keys, sums)
    surplus = cells_by_reason(copies.lazy().with_columns(-pl.col(COPIES)), keys, sums)
    used = pl.concat([found.filter(pl.col(REASON).is_null()), surplus])
    cells = used.group_by(*keys).agg(pl.col(ROWS, *sums).sum()).sort(*keys)

    counted = dict(found.group_by(REASON).agg(pl.col(ROWS).sum()).iter_rows())
    counted[DUPLICATE] = -int(surplus[ROWS].sum())
    shown = gather_examples(judged, REASON, [reason for reason in reasons if reason in counted], of_file, examples)
    repeated = copies.head(examples).select(pl.lit(DUPLICATE).alias("reason"), *of_file)
    return Tally(
        cells=cells,
        rejections=Rejections({reason: counted.get(reason, 0) for reason in reasons}, pl.concat([shown, repeated])),
        rows_read=int(found[ROWS].sum()),
        rows_used=int(cells[ROWS].sum()),
    )


def cells_by_reason(rows: pl.LazyFrame, keys: Mapping[str, pl.Expr], sums: Mapping[str, pl.Expr]) -> pl.DataFrame:
    """Sums by REASON and cell, every row as often as COPIES says; rejected rows have no cell. One streaming pass."""
    counts = pl.col(REASON).is_null()
    copies = pl.col(COPIES)
    return (
        rows.group_by(REASON, *(pl.when(counts).then(key).alias(name) for name, key in keys.items()))
        .agg(copies.sum().alias(ROWS), *((copies * amount).sum().alias(name) for name, amount in sums.items()))
        .collect(engine="streaming")
    )
