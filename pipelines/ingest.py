"""The ingest step: the files that a spec names become a stored data set, once.

What the files were and how they were read is the recipe; the same recipe finds the stored data set again without
reading a row. Examples of rejected rows go to the quarantine, outside the store: raw rows are never in the store.
"""

import hashlib
import json
import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import polars as pl
import polars.selectors as cs

from data import bundled, store
from data.dataset import DataSet, Ingested, Manifest, Rejections
from data.edge_events import IngestedSnapshots
from data.errors import StoreProblem, TooManyRejected
from data.od import OdColumns, read_od
from data.series import read_long, read_wide
from data.series_edges import with_edges
from data.snapshot_store import SnapshotManifest
from data.sources import find_files, sha256
from data.treatment import Stretch
from data.trips import TripColumns, read_trips
from data.zones import ZoneTable
from pipelines import settings
from pipelines.errors import StoreError
from pipelines.fingerprint import code_fingerprint
from pipelines.spec import Data, Experiment, LongData, OdData, Spec, TripData, WideData

Say = Callable[[str], None]
R = TypeVar("R", Ingested, IngestedSnapshots)


def ingest(spec: Spec, *, fresh: bool = False, say: Say = print) -> DataSet:
    """The data set of `spec`: the stored one if files and settings are as they were, else read anew and stored.

    `fresh` reads anew in any case. Raises DataError for data that can't be used, StoreError where the data set can't
    be written.
    """
    return ingest_or_reuse(spec, fresh=fresh, say=say)[0]


def ingest_or_reuse(spec: Spec, *, fresh: bool = False, say: Say = print) -> tuple[DataSet, bool]:
    """As `ingest`, and whether the stored data set was re-used."""
    sources = _sources(spec)
    if not fresh and (stored := _stored(spec, sources, say)):
        return stored, True
    began = time.monotonic()
    ingested = keeping_examples(spec, sources, lambda: _read(spec, sources))
    dataset = DataSet(ingested.panel, ingested.flows, _manifest(spec, sources, ingested))
    try:
        store.save(dataset, settings.datasets())
    except StoreProblem as problem:
        raise StoreError(str(problem)) from None
    rows = f"{ingested.rows_read:,} {'trips' if spec.data.kind == 'trips' else 'rows'} from {sources.called}"
    say(f"read {rows} in {time.monotonic() - began:.1f} s: {fate(dataset.manifest)}")
    say(f"data set {_extent(dataset)}")
    return dataset, False


# ---------------------------------------------------------------- which files, read how


@dataclass(frozen=True)
class Sources:
    """The files of a spec: `files` by variable (one entry where the files don't say), and what identifies them."""

    files: dict[str, list[Path]]
    edges: list[Path]  # between the series, where the spec names any
    zones: ZoneTable | None
    hashes: dict[str, str]  # name -> sha256
    recipe: str

    @property
    def all(self) -> list[Path]:
        return [file for files in self.files.values() for file in files]

    @property
    def called(self) -> str:
        more = len(self.all) - 1
        return next(iter(self.hashes)) + (f" and {more:,} more" if more else "")

    @property
    def key(self) -> str:
        return hashlib.sha256(json.dumps([self.recipe, self.hashes], sort_keys=True).encode()).hexdigest()[:16]


def _sources(spec: Spec) -> Sources:
    data = spec.data
    named = data.files if isinstance(data.files, dict) else {getattr(data, "variable", "y"): data.files}
    files = {variable: find_files(resolved(paths, spec.folder)) for variable, paths in named.items()}
    zones = _zone_table(data, spec.folder)
    between = data.edges.files if isinstance(data, LongData | WideData) and data.edges else []
    edges = find_files(resolved(between, spec.folder)) if between else []
    everything = [file for paths in files.values() for file in paths] + edges + ([zones.file] if zones else [])
    return Sources(
        files=files,
        edges=edges,
        zones=zones,
        hashes={portable_name(file, spec.folder): sha256(file) for file in everything},
        recipe=f"{spec.digest('data')}-{code_fingerprint('data')}",
    )


def resolved(paths: str | list[str], folder: Path) -> list[str]:
    return [bundled.resolve(path, folder) for path in ([paths] if isinstance(paths, str) else paths)]


def _zone_table(data: Data, folder: Path) -> ZoneTable | None:
    if data.zones is None:
        return None
    file = find_files(resolved(data.zones.file, folder))[0]
    columns = data.zones.model_dump(include={"id", "label", "latitude", "longitude"})
    return ZoneTable(file=file, **columns, unknown=tuple(data.zones.unknown))


def portable_name(file: Path, folder: Path) -> str:
    """A name that is the same on every machine, as far as there is one."""
    if file.is_relative_to(bundled.HERE):
        return bundled.PREFIX + file.relative_to(bundled.HERE).as_posix()
    return file.relative_to(folder).as_posix() if file.is_relative_to(folder) else str(file)


def _stored(spec: Spec, sources: Sources, say: Say) -> DataSet | None:
    known = store.find(settings.datasets(), spec.name, recipe=sources.recipe, sources=sources.hashes)
    if known is None:
        return None
    try:
        dataset = store.load(settings.datasets(), known.name, known.version)
    except StoreProblem as problem:
        say(f"{problem}: doing so")
        return None
    say(f"data set {_extent(dataset)}: files and settings unchanged, re-used")
    return dataset


# ---------------------------------------------------------------- reading


def _read(spec: Spec, sources: Sources) -> Ingested:
    return _with_edges(_read_kind(spec.data, sources), spec.data, sources)


def keeping_examples(spec: Experiment, sources: Sources, read: Callable[[], R]) -> R:
    """What `read` gives, its rejected rows kept to be looked at, also where there are too many of them."""
    try:
        ingested = read()
    except TooManyRejected as error:
        place = keep_examples(spec, sources, error.rejections)
        where = f"; examples are in {place}" if place else ""
        raise TooManyRejected(f"{error}{where}", error.rejections) from None
    keep_examples(spec, sources, ingested.rejections)
    return ingested


def _read_kind(data: Data, sources: Sources) -> Ingested:
    rules = data.model_dump(
        include={"timezone", "interval", "start", "end", "repeated_hour", "max_rejected_share", "quarantine_examples"}
    )
    match data:
        case TripData():
            columns = TripColumns(**data.columns.model_dump())
            return read_trips(sources.all, columns, zones=sources.zones, max_trip_hours=data.max_trip_hours, **rules)
        case OdData():
            return read_od(sources.all, OdColumns(**data.columns.model_dump()), zones=sources.zones, **rules)
        case LongData():
            values = data.columns.values
            return read_long(
                sources.all,
                id=data.columns.id,
                time=data.columns.time,
                values=[values] if isinstance(values, str) else values,
                zones=sources.zones,
                **_of_series(data),
                **rules,
            )
        case WideData():
            return read_wide(
                sources.files, **data.columns.model_dump(), **_of_series(data), zones=sources.zones, **rules
            )


def _with_edges(ingested: Ingested, data: Data, sources: Sources) -> Ingested:
    """The series with what moved between them, where a file tells that."""
    if not isinstance(data, LongData | WideData) or data.edges is None:
        return ingested
    rules = data.model_dump(include={"repeated_hour", "max_rejected_share", "quarantine_examples"})
    return with_edges(ingested, sources.edges, OdColumns(**data.edges.columns.model_dump()), **rules)


def _of_series(data: LongData | WideData) -> dict[str, Any]:
    stretches = [Stretch(**stretch.model_dump()) for stretch in data.unobserved]
    return {"kind": data.values, "difference": data.difference, "unobserved": stretches}


def _manifest(spec: Spec, sources: Sources, ingested: Ingested) -> Manifest:
    panel = ingested.panel
    quarantined = len(ingested.rejections.examples) > 0
    return Manifest(
        name=spec.name,
        version=store.content_hash(panel, ingested.flows),
        sources=sources.hashes,
        rows_read=ingested.rows_read,
        rows_used=ingested.rows_used,
        rejected={reason: count for reason, count in ingested.rejections.counts.items() if count},
        notes=ingested.notes,
        source_columns=ingested.source_columns,
        span=(panel.index[0].isoformat(), panel.index[-1].isoformat()),
        interval=panel.interval,
        timezone=panel.timezone,
        nodes=len(panel.nodes),
        variables=list(panel.variables),
        observed_share=float(panel.mask.mean()),
        origin=spec.data.origin,
        licence=spec.data.licence,
        recipe=sources.recipe,
        quarantine=str(quarantine_file(spec, sources)) if quarantined else None,
    )


# ---------------------------------------------------------------- quarantine


def quarantine_file(spec: Experiment, sources: Sources) -> Path:
    return settings.quarantine() / f"{spec.name}-{sources.key}.csv"


def keep_examples(spec: Experiment, sources: Sources, rejections: Rejections) -> Path | None:
    """Write the examples where only their owner can read them: they are raw rows, of persons it may be."""
    if rejections.examples.is_empty():
        return None
    file = quarantine_file(spec, sources)
    flat = rejections.examples.select(~(cs.nested() | cs.binary()))
    try:
        with store.told_plainly(file):
            _write_private(file, flat)
    except StoreProblem as problem:
        raise StoreError(str(problem)) from None
    return file


def _write_private(file: Path, rows: pl.DataFrame) -> None:
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    whole = file.with_suffix(f".{os.getpid()}")
    handle = os.open(whole, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as out:
        out.write(rows.write_csv())
    os.replace(whole, file)


# ---------------------------------------------------------------- in words


UNITS = {"1m": "minutes", "1h": "hours", "1d": "days", "1w": "weeks", "1mo": "months", "1q": "quarters", "1y": "years"}


def _extent(dataset: DataSet) -> str:
    panel, manifest = dataset.panel, dataset.manifest
    steps = UNITS.get(panel.interval, f"steps of {panel.interval}")
    variables = ", ".join(panel.variables)
    return (
        f"{manifest.name}/{manifest.version} ({len(panel.index):,} {steps} x {len(panel.nodes):,} nodes: {variables})"
    )


def fate(manifest: Manifest | SnapshotManifest) -> str:
    rejected = sum(manifest.rejected.values())
    reasons = ", ".join(f"{count:,} {name}" for name, count in Counter(manifest.rejected).most_common())
    return f"{manifest.rows_used:,} used, {rejected:,} rejected" + (f" ({reasons})" if reasons else "")


def describe(manifest: Manifest) -> str:
    """What the manifest says, one line a thing, for a person to read."""
    lines: Sequence[tuple[str, str]] = [
        ("data set", f"{manifest.name}/{manifest.version}"),
        ("span", f"{manifest.span[0]} to {manifest.span[1]}, every {manifest.interval}, {manifest.timezone}"),
        ("nodes", f"{manifest.nodes:,}, {manifest.observed_share:.1%} of the values observed"),
        ("variables", ", ".join(manifest.variables)),
        ("rows", f"{manifest.rows_read:,} read, {fate(manifest)}"),
        *(("note", f"{count:,} {note}") for note, count in manifest.notes.items()),
        *(("source", f"{file} (sha256 {known[:12]})") for file, known in manifest.sources.items()),
        ("origin", manifest.origin),
        ("licence", manifest.licence),
        ("quarantine", manifest.quarantine or ""),
    ]
    return "\n".join(f"{name:<12}{text}" for name, text in lines if text)
