"""The true counts of a release, bounded: int64 [T, N, K] on the public domain. They are never stored.

A draw counts the trips that begin in its own periods, in the cells of its own steps. So it depends on units of these
periods alone, and what an earlier draw has released of other periods is not touched again. A trip that ends in a period
that was drawn before (past midnight, where days are appended) is an outflow whose inflow is in no release.
"""

from collections.abc import Callable

import numpy as np
import polars as pl

from data.clock import rows_decide
from data.contribution import bound_contributions
from data.dataset import Ingested
from data.errors import DataError, TooManyRejected
from data.flows import step_of
from data.od import ADDED
from data.panel import Panel
from data.rejections import DUPLICATE
from data.sources import readable, scan_all
from data.trip_rows import read_trip_rows
from data.trips import TripColumns
from pipelines.privacy.release.domain import Domain
from pipelines.privacy.secret_key import contribution_key
from pipelines.quarantine import R, keeping_examples, quarantine_file
from pipelines.reading import read_kind
from pipelines.sources import Sources
from pipelines.spec import OdData, TripData

CELLS = {"nodes": (("leaving", "source"), ("reaching", "target")), "flows": (("leaving", "source", "target"),)}


def count(domain: Domain, sources: Sources, drawn: np.ndarray) -> np.ndarray:
    """The counts [T, N, K] of the steps `drawn` [T], 0 in the others. Raises DataError."""
    data = domain.spec.data
    if isinstance(data, TripData):
        return _of_moves(domain, _bounded(domain, _trips(domain, data, sources, drawn)), drawn)
    ingested = _keeping(domain, sources, lambda: read_kind(data, sources))
    if isinstance(data, OdData):
        return _of_moves(domain, _od(domain, ingested), drawn)
    return _of_series(domain, ingested.panel, drawn)


def require_columns(domain: Domain, sources: Sources) -> None:
    """Raises DataError where a file lacks a column; no row is read."""
    data = domain.spec.data
    if isinstance(data, TripData | OdData):
        person = [domain.privacy.person] if domain.privacy.person else []
        with readable(sources.all):
            scan_all(sources.all, [*data.columns.model_dump().values(), *person])


def require_own_times(domain: Domain, sources: Sources) -> None:
    """Raises DataError where all rows together decide how a time is read, so that one trip could move every other."""
    data = domain.spec.data
    if not isinstance(data, TripData | OdData):
        return
    times = (data.columns.start, data.columns.end) if isinstance(data, TripData) else (data.columns.time,)
    with readable(sources.all):
        rows = scan_all(sources.all, times)
        unclear = [column for column in times if rows_decide(rows, column)]
    if unclear:
        raise DataError(
            f"column {unclear[0]!r} has dates such as 01/02/2020, of which the rows together decide what is the day; "
            "one trip more could then move every count, and no noise would hide it: write them year first, 2020-02-01"
        )


def _keeping(domain: Domain, sources: Sources, read: Callable[[], R]) -> R:
    """As `keeping_examples`; what is wrong with which rows is for the owner of the quarantine, not for a log."""
    try:
        return keeping_examples(domain.spec, sources, read)
    except TooManyRejected as error:
        raise TooManyRejected(
            f"more than {domain.spec.data.max_rejected_share:.1%} of the rows can't be used, or none can; which, and "
            f"why, is told to nobody but their owner: examples are in {quarantine_file(domain.spec, sources)}",
            error.rejections,
        ) from None


# ---------------------------------------------------------------- trips


def _trips(domain: Domain, data: TripData, sources: Sources, drawn: np.ndarray) -> pl.DataFrame:
    """The trips that begin in steps `drawn`; `leaving` and `reaching` are places on the clock, one a trip."""
    rules = data.model_dump(
        include={"timezone", "interval", "start", "end", "repeated_hour", "max_rejected_share", "quarantine_examples"}
    )
    read = _keeping(
        domain,
        sources,
        lambda: read_trip_rows(
            sources.all,
            TripColumns(**data.columns.model_dump()),
            person=domain.privacy.person,
            zones=sources.zones,
            max_trip_hours=data.max_trip_hours,
            **rules,
        ),
    )
    placed = read.rows.with_columns(
        leaving=step_of(read.rows["departure"], domain.index),
        reaching=step_of(read.rows["arrival"], domain.index),
        weight=pl.lit(1, pl.Int64),
    )
    return placed.filter(pl.Series(drawn[placed["leaving"].to_numpy()], dtype=pl.Boolean))


def _bounded(domain: Domain, trips: pl.DataFrame) -> pl.DataFrame:
    privacy = domain.privacy
    if privacy.unit == "trip":
        return trips
    assert privacy.trips_per_unit is not None  # `claimable` has asked
    periods = domain.periods[trips["leaving"].to_numpy()]
    named = trips.with_columns(
        period=pl.Series(periods, dtype=pl.String),
        revision=pl.Series([domain.revisions[period] for period in periods], dtype=pl.Int64),
    )
    return bound_contributions(
        named,
        unit=["person", "period"],
        cells=CELLS[domain.counts],
        trip=["revision", "person", "start", "end", "source", "target"],
        most_per_unit=privacy.trips_per_unit,
        most_per_cell=privacy.trips_per_cell,
        secret=contribution_key(),
        release=domain.recipe,
    )


def _of_moves(domain: Domain, moves: pl.DataFrame, drawn: np.ndarray) -> np.ndarray:
    """`moves` has the columns leaving, reaching, source, target, weight."""
    places = pl.Enum(domain.nodes)
    source, target = (moves[name].cast(places).to_physical().to_numpy() for name in ("source", "target"))
    leaving, reaching, weight = (moves[name].to_numpy() for name in ("leaving", "reaching", "weight"))
    counts = np.zeros(domain.mask.shape, dtype=np.int64)
    if domain.counts == "flows":
        np.add.at(counts, (leaving, source, target), weight)
    else:
        within = reaching < len(counts)
        np.add.at(counts[..., 0], (reaching[within], target[within]), weight[within])
        np.add.at(counts[..., 1], (leaving, source), weight)
    counts[~drawn] = 0
    return counts


def _od(domain: Domain, ingested: Ingested) -> pl.DataFrame:
    """Raises DataError where one trip more could move a count by more than one."""
    repeated = ingested.rejections.counts.get(DUPLICATE, 0) + ingested.notes.get(ADDED, 0)
    if repeated:
        raise DataError(
            f"{repeated:,} rows repeat the time, source and target of another; which of them are copies can't be told "
            "without looking at their counts, and then one trip could bring a whole row back: make one row of each"
        )
    flows = ingested.flows
    assert flows is not None
    if not flows["weight"].dtype.is_integer():
        raise DataError("some counts are no whole numbers; a private release is of whole counts")
    step = step_of(flows["time"], domain.index)
    return flows.with_columns(leaving=step, reaching=step)


# ---------------------------------------------------------------- series


def _of_series(domain: Domain, panel: Panel, drawn: np.ndarray) -> np.ndarray:
    read = _on_the_clock(domain, panel)
    wanted = domain.mask & drawn[:, None, None]
    _require_told(domain, np.isnan(read) & wanted)
    counts = np.where(wanted, read, 0.0)
    if (counts != np.rint(counts)).any():
        raise DataError("some values are no whole numbers; a private release is of whole counts")
    return counts.astype(np.int64)


def _on_the_clock(domain: Domain, panel: Panel) -> np.ndarray:
    """The values [T, N, F] of `panel` at the public steps and nodes, NaN where it has none."""
    unknown = [node for node in panel.nodes if node not in domain.nodes]
    if unknown:
        raise DataError(f"series {unknown[0]!r} is not in the table of nodes; add it, or take it out of the data")
    values = np.full(domain.mask.shape, np.nan)
    step = panel.index.get_indexer(domain.index)
    known = np.array([domain.nodes.index(node) for node in panel.nodes])
    values[np.ix_(np.flatnonzero(step >= 0), known)] = panel.values[step[step >= 0]]
    return values


def _require_told(domain: Domain, missing: np.ndarray) -> None:
    """Which values are missing would be published with the release, so it must not follow from the rows."""
    if not missing.any():
        return
    t, n, _ = np.argwhere(missing)[0]
    raise DataError(
        f"{int(missing.sum()):,} values are missing, the first at {domain.index[t].isoformat()} of "
        f"{domain.nodes[n]!r}. If nobody was counted there, write 0; if nothing was measured, say so in "
        "[[data.unobserved]], which is public: a release tells everybody which values it lacks"
    )
