"""The public domain of a release: which cells there are, without a look at a single row.

Nodes come from the zone table or the spec, the clock from the spec. What was never measured (a failure, say) is public
only if the spec says so in `[[data.unobserved]]`: such cells are no part of the release. Every other cell is released.
"""

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl

from data.clock import in_zone
from data.consistency import depth, hierarchy
from data.flows import INFLOW, OUTFLOW
from data.regular import MICROSECOND, regular_index
from data.treatment import Stretch, steps_of
from data.zones import ZoneTable, read_zones
from pipelines.errors import SpecError
from pipelines.privacy.claimable import counts_of
from pipelines.privacy.release.periods import most_steps, periods_of, require_whole_periods
from pipelines.privacy.sensitivity import Sensitivity, of_presence, of_trips
from pipelines.privacy.spec import ReleasePrivacy
from pipelines.sources import zone_table
from pipelines.spec import LongData, OdData, Spec, TripData, WideData

MOST_CELLS = 10_000_000  # whose noise takes about four minutes
OPEN = {"files", "start", "end", "max_rejected_share", "quarantine_examples", "origin", "licence", "unobserved"}


@dataclass(frozen=True)
class Domain:
    """Cells [T, N, K]: of series K variables, of "nodes" inflow and outflow, of "flows" the N targets of each node."""

    spec: Spec
    privacy: ReleasePrivacy
    counts: str
    index: pd.DatetimeIndex  # [T]
    static: pl.DataFrame
    variables: tuple[str, ...]  # of the panel
    mask: np.ndarray  # [T, N, K], False where nothing was measured, as the spec says
    periods: np.ndarray  # [T] text

    @property
    def nodes(self) -> tuple[str, ...]:
        return tuple(self.static["node"])

    @cached_property
    def revisions(self) -> dict[str, int]:
        """Period -> revision, in order of time."""
        return {period: self.privacy.revised.get(period, 0) for period in dict.fromkeys(self.periods)}

    @cached_property
    def structure(self) -> np.ndarray:
        """[N, L], which nodes are the sum of which."""
        return hierarchy(self.nodes, self.privacy.sums)

    @property
    def nested(self) -> int:
        """In how many nodes a person may be at a time."""
        return max(self.privacy.nested, depth(self.structure))

    @property
    def data_set(self) -> str:
        """Under which name the ledger knows the data."""
        return self.privacy.data_set or self.spec.name

    @cached_property
    def recipe(self) -> str:
        """A public name of what is released: the same recipe and period, the same values, drawn once.

        It is made of the spec alone. What does not change a count (where the files are, how many rows may be wrong) or
        only says of which steps there are counts (the span, but of unit `user`, whose period it is) is no part of it.
        """
        data = self.spec.data.model_dump(mode="json", exclude=OPEN | {"zones"})
        whole = [str(self.index[0]), str(self.index[-1])] if self.privacy.unit == "user" else []
        told = [data, self.privacy.model_dump(mode="json", exclude={"revised", "counts"}), self.data_set]
        content = json.dumps([*told, self.counts, self.nodes, self.variables, whole], sort_keys=True)
        return "release-" + hashlib.sha256(content.encode()).hexdigest()[:16]

    def steps_in(self, periods: list[str]) -> np.ndarray:
        """[T], True for the steps of these periods."""
        return np.isin(self.periods.astype(str), periods)

    def sensitivity(self, drawn: np.ndarray) -> Sensitivity:
        """How far a unit moves the cells of the steps `drawn` [T]."""
        if self.counts == "series":
            seen = self.mask.any(axis=1)  # [T, K]
            slots = most_steps(self.periods, np.where(drawn, seen.sum(axis=1), 0))
            return of_presence(slots=slots, nested=self.nested)
        kinds = 2 if self.counts == "nodes" else 1
        return of_trips(per_unit=self.privacy.trips_per_unit or 1, per_cell=self.privacy.trips_per_cell, kinds=kinds)


def domain_of(spec: Spec, privacy: ReleasePrivacy) -> Domain:
    """Raises SpecError where the span and the unit don't fit, or where there are too many cells for exact noise."""
    data = spec.data
    assert data.start is not None
    assert data.end is not None  # `claimable` has asked
    start, end = (
        pd.Timestamp(in_zone(edge, data.timezone)).tz_convert(data.timezone) for edge in (data.start, data.end)
    )
    if end <= start:
        raise SpecError(f"data.end: {end} is not after data.start, {start}")
    index = regular_index(start, end - MICROSECOND, data.interval, data.timezone)
    counts, static, variables = counts_of(spec, privacy), _static(spec), _variables(spec)
    cells = len(static) if counts == "flows" else len(variables)
    _require_few(len(index), len(static), cells)
    require_whole_periods(index, data.interval, start=start, end=end, unit=privacy.unit)
    mask = np.ones((len(index), len(static), cells), dtype=bool)
    if isinstance(data, LongData | WideData):
        mask &= _measured(data, index, variables)[:, None, :]
    found = Domain(spec, privacy, counts, index, static, variables, mask, _periods(index, privacy))
    _check(found)
    return found


def _periods(index: pd.DatetimeIndex, privacy: ReleasePrivacy) -> np.ndarray:
    return periods_of(index, unit=privacy.unit, span=privacy.span)


def _check(domain: Domain) -> None:
    unknown = sorted(set(domain.privacy.revised) - set(domain.periods))
    if unknown:
        raise SpecError(
            f"privacy.revised: {unknown[0]!r} is no period of the span; they are called like {domain.periods[0]!r}"
        )
    try:
        _ = domain.structure
    except ValueError as error:
        raise SpecError(f"privacy.sums: {error}") from None


def _static(spec: Spec) -> pl.DataFrame:
    table: ZoneTable | None = zone_table(spec.data, Path(spec.folder))
    if not isinstance(spec.data, WideData):
        assert table is not None
        return read_zones(table)
    named = pl.DataFrame({"node": list(spec.data.columns.values)}, schema={"node": pl.String})
    return named.join(read_zones(table), on="node", how="left", maintain_order="left") if table else named


def _variables(spec: Spec) -> tuple[str, ...]:
    data = spec.data
    if isinstance(data, TripData | OdData):
        return INFLOW, OUTFLOW
    if isinstance(data, LongData):
        return tuple([data.columns.values] if isinstance(data.columns.values, str) else data.columns.values)
    return tuple(data.files) if isinstance(data.files, dict) else (data.variable,)


def _measured(data: LongData | WideData, index: pd.DatetimeIndex, variables: tuple[str, ...]) -> np.ndarray:
    """[T, F]. An increment is measured where both of its ends are; the first step has none."""
    mask = np.ones((len(index), len(variables)), dtype=bool)
    for stretch in data.unobserved:
        if stretch.variable not in variables:
            raise SpecError(f"data.unobserved: no variable {stretch.variable!r}; there are {', '.join(variables)}")
        mask[steps_of(Stretch(**stretch.model_dump()), index), variables.index(stretch.variable)] = False
    if data.difference:
        mask[1:] &= mask[:-1]
        mask[0] = False
    return mask


def _require_few(steps: int, nodes: int, cells: int) -> None:
    if steps * nodes * cells > MOST_CELLS:
        raise SpecError(
            f"{steps:,} steps x {nodes:,} nodes x {cells:,} are {steps * nodes * cells:,} cells, and every one of them "
            f"gets noise, empty ones too; at most {MOST_CELLS:,} are released: take longer steps, or a zone table of "
            "fewer and larger zones"
        )
