"""The ingest step: the files that a spec names become a stored data set, once.

What the files were and how they were read is the recipe; the same recipe finds the stored data set again without
reading a row. Examples of rejected rows go to the quarantine, outside the store: raw rows are never in the store.
"""

import time
from collections import Counter
from collections.abc import Callable, Sequence

from data import store
from data.dataset import DataSet, Ingested, Manifest
from data.errors import StoreProblem
from data.snapshot_store import SnapshotManifest
from pipelines import settings
from pipelines.errors import StoreError
from pipelines.privacy.release.ingest import release_or_reuse
from pipelines.privacy.spec import ReleasePrivacy
from pipelines.privacy.told import claim_of
from pipelines.quarantine import keeping_examples, quarantine_file
from pipelines.reading import read
from pipelines.sources import Sources, sources_of
from pipelines.spec import Spec

Say = Callable[[str], None]


def ingest(spec: Spec, *, fresh: bool = False, say: Say = print) -> DataSet:
    """The data set of `spec`: the stored one if files and settings are as they were, else read anew and stored.

    `fresh` reads anew in any case. Raises DataError for data that can't be used, StoreError where the data set can't
    be written, BudgetRefused where a privacy budget protects the data and the spec does not.
    """
    return ingest_or_reuse(spec, fresh=fresh, say=say)[0]


def ingest_or_reuse(spec: Spec, *, fresh: bool = False, say: Say = print) -> tuple[DataSet, bool]:
    """As `ingest`, and whether the stored data set was re-used. Of a private release see `privacy.release.ingest`."""
    if isinstance(spec.privacy, ReleasePrivacy):
        return release_or_reuse(spec, spec.privacy, fresh=fresh, say=say)
    sources = sources_of(spec)
    if not fresh and (stored := _stored(spec, sources, say)):
        return stored, True
    began = time.monotonic()
    ingested = keeping_examples(spec, sources, lambda: read(spec, sources))
    dataset = DataSet(ingested.panel, ingested.flows, _manifest(spec, sources, ingested))
    try:
        store.save(dataset, settings.datasets())
    except StoreProblem as problem:
        raise StoreError(str(problem)) from None
    rows = f"{ingested.rows_read:,} {'trips' if spec.data.kind == 'trips' else 'rows'} from {sources.called}"
    say(f"read {rows} in {time.monotonic() - began:.1f} s: {fate(dataset.manifest)}")
    say(f"data set {_extent(dataset)}")
    return dataset, False


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
    claim = claim_of(manifest)
    lines: Sequence[tuple[str, str]] = [
        ("data set", f"{manifest.name}/{manifest.version}"),
        ("span", f"{manifest.span[0]} to {manifest.span[1]}, every {manifest.interval}, {manifest.timezone}"),
        ("nodes", f"{manifest.nodes:,}, {manifest.observed_share:.1%} of the values observed"),
        ("variables", ", ".join(manifest.variables)),
        ("privacy", claim.sentence if claim else ""),
        ("rows", "" if claim else f"{manifest.rows_read:,} read, {fate(manifest)}"),
        *(("note", f"{count:,} {note}") for note, count in manifest.notes.items()),
        *(("source", f"{file} (sha256 {known[:12]})" if known else file) for file, known in manifest.sources.items()),
        ("origin", manifest.origin),
        ("licence", manifest.licence),
        ("quarantine", manifest.quarantine or ""),
    ]
    return "\n".join(f"{name:<12}{text}" for name, text in lines if text)
