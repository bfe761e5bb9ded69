"""Zones: how their identifiers are read, and the table of the known ones."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from data.errors import DataError
from data.sources import readable, require_columns, scan


@dataclass(frozen=True)
class ZoneTable:
    """A file with one row a zone: the names of its columns, and the ids in it that stand for 'not known'."""

    file: Path
    id: str
    label: str | None = None
    latitude: str | None = None
    longitude: str | None = None
    unknown: tuple[str, ...] = ()


def read_zones(table: ZoneTable) -> pl.DataFrame:
    """The known zones in the file's order: `node` [str], then `label`, `latitude`, `longitude` where these are named.

    Raises DataError for a missing column, a missing or repeated id, a coordinate that is no number.
    """
    named = {"node": table.id, "label": table.label, "latitude": table.latitude, "longitude": table.longitude}
    columns = {name: column for name, column in named.items() if column is not None}
    frame = scan(table.file)
    require_columns(frame, columns.values(), table.file)
    with readable([table.file]):
        found = frame.select(pl.col(column).alias(name) for name, column in columns.items()).collect()
    found = found.with_columns(zone_id("node", found.schema["node"]))
    _require_distinct(found["node"], table)
    for name in ("latitude", "longitude"):
        if name in columns:
            found = found.with_columns(_number(found[name], columns[name], table.file))
    return found.filter(~pl.col("node").is_in(table.unknown))


def zone_id(column: str, dtype: pl.DataType) -> pl.Expr:
    """The identifiers of a column as text: 444 and 444.0 are "444", "007" stays so, empty is null."""
    ids = pl.col(column)
    if dtype.is_float():  # pandas writes whole numbers so where one is missing
        whole = ids.cast(pl.Int64, strict=False)
        return pl.when(whole == ids).then(whole.cast(pl.String)).otherwise(ids.fill_nan(None).cast(pl.String))
    text = ids.cast(pl.String).str.strip_chars()
    return pl.when(text != "").then(text).alias(column)


def in_order(ids: Iterable[str]) -> list[str]:
    """Sorted, as numbers where all of them are."""
    ids = list(ids)
    if all(name.isdecimal() for name in ids):
        return sorted(ids, key=lambda name: (int(name), name))
    return sorted(ids)


def _require_distinct(ids: pl.Series, table: ZoneTable) -> None:
    if ids.is_null().any():
        row = int(ids.is_null().arg_true()[0]) + 1
        raise DataError(
            f"{table.file}: column {table.id!r} has {ids.null_count()} rows without an id, the first is {row}"
        )
    twice = ids.filter(ids.is_duplicated())
    if len(twice):
        raise DataError(f"{table.file}: column {table.id!r} has the id {twice[0]!r} more than once; ids must be unique")


def _number(values: pl.Series, column: str, file: Path) -> pl.Series:
    numbers = values.cast(pl.Float64, strict=False)
    wrong = values.filter(numbers.is_null() & values.is_not_null())
    if len(wrong):
        raise DataError(
            f"{file}: column {column!r} has {len(wrong)} values that are no numbers, the first is {wrong[0]!r}"
        )
    return numbers
