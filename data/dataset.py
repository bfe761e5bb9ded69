"""What ingestion gives: a panel, the flows between its nodes where there are any, and how they came about."""

import math
from dataclasses import dataclass, field

import polars as pl

from data.panel import Panel


@dataclass(frozen=True)
class Rejections:
    """Rows that did not count, by reason, and up to N examples of each with the column `reason` in front."""

    counts: dict[str, int]
    examples: pl.DataFrame


@dataclass(frozen=True)
class Release:
    """What a data set of privately released counts says of itself; nothing here follows from raw rows alone."""

    protection: str  # JSON: what is promised to whom, and where the ledger holds it
    variance: dict[str, float]  # variable -> of the noise in one value, mean over nodes; "flow": in the flow of a pair
    periods: dict[str, int]  # period -> its revision: each was drawn once
    runs: list[str]  # of the ledger, oldest first: one for every draw that values are from


@dataclass(frozen=True)
class Manifest:
    """Where a data set came from and what became of every row.

    `rows_read == rows_used + sum(rejected.values())` always. `notes` counts rows that were used but changed on the way
    (a repeated local hour that was resolved, say). `version` is the content hash of panel and flows.
    """

    name: str
    version: str
    sources: dict[str, str]  # file -> sha256
    rows_read: int
    rows_used: int
    rejected: dict[str, int]
    notes: dict[str, int]
    source_columns: dict[str, str]  # column -> type, as found in the file
    span: tuple[str, str]  # first and last step, ISO 8601 with offset
    interval: str
    timezone: str
    nodes: int
    variables: list[str]
    observed_share: float
    origin: str
    licence: str
    recipe: str  # digest of the [data] table and the version of the ingest code
    quarantine: str | None = None  # file with the examples, outside the store
    release: Release | None = None  # of counts that were released privately


@dataclass(frozen=True)
class Ingested:
    """The result of reading, before it is stored: no row of the source is in here but the examples."""

    panel: Panel
    flows: pl.DataFrame | None  # time [datetime, tz], source, target [str], weight [int or float]; sorted, unique
    rows_read: int
    rows_used: int
    rejections: Rejections
    source_columns: dict[str, str]
    notes: dict[str, int] = field(default_factory=dict)


NOISE = 2.0  # standard deviations that a released flow must exceed to be an edge


@dataclass(frozen=True)
class DataSet:
    panel: Panel
    flows: pl.DataFrame | None
    manifest: Manifest

    @property
    def links(self) -> pl.DataFrame | None:
        """The flows that make edges of graphs: all of them, or of a release those that stand out of the noise.

        A graph reads the release as any model does, so leaving out what is likely noise costs no privacy; counts and
        their sums are never made of these, since dropping small flows is a bias.
        """
        release = self.manifest.release
        if self.flows is None or release is None:
            return self.flows
        return self.flows.filter(pl.col("weight") > NOISE * math.sqrt(release.variance["flow"]))
