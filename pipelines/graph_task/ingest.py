"""The ingest step of an edge list: its files become stored snapshots, once.

As `pipelines.ingest`: the same files and the same `[data]` table find the stored snapshots again without reading a row.
"""

import time

import pandas as pd

from data import snapshot_store, store
from data.edge_events import EventColumns, IngestedSnapshots, read_edge_events
from data.errors import StoreProblem
from data.node_table import LabelRules, NodeColumns, add_node_table
from data.snapshot_store import SnapshotManifest, SnapshotSet
from data.sources import find_files, sha256
from pipelines import settings
from pipelines.errors import StoreError
from pipelines.fingerprint import code_fingerprint
from pipelines.graph_task.spec import EdgeData, GraphSpec
from pipelines.ingest import Say, fate
from pipelines.quarantine import keeping_examples
from pipelines.sources import Sources, portable_name, resolved


def ingest_or_reuse(spec: GraphSpec, *, fresh: bool = False, say: Say = print) -> tuple[SnapshotSet, bool]:
    """The snapshots of `spec`, and whether the stored ones were re-used; `fresh` reads anew in any case.

    Raises DataError for data that can't be used, StoreError where the snapshots can't be written.
    """
    sources = _sources(spec)
    if not fresh and (stored := _stored(spec, sources, say)):
        return stored, True
    began = time.monotonic()
    ingested = keeping_examples(spec, sources, lambda: _read(spec, sources))
    dataset = SnapshotSet(ingested.snapshots, _manifest(spec, sources, ingested))
    try:
        snapshot_store.save(dataset, settings.datasets())
    except StoreProblem as problem:
        raise StoreError(str(problem)) from None
    rows = f"{ingested.rows_read:,} rows from {sources.called}"
    say(f"read {rows} in {time.monotonic() - began:.1f} s: {fate(dataset.manifest)}")
    say(f"snapshots {_extent(dataset.manifest)}")
    return dataset, False


def describe(manifest: SnapshotManifest) -> str:
    """What the manifest says, one line a thing, for a person to read."""
    zone = f", {manifest.timezone}" if manifest.timezone else ""
    lines = [
        ("snapshots", f"{manifest.name}/{manifest.version}"),
        ("span", f"{manifest.span[0]} to {manifest.span[1]}, {manifest.steps:,} steps of {manifest.interval}{zone}"),
        ("nodes", f"{manifest.nodes:,}"),
        ("features", f"{len(manifest.features):,} of a node" if manifest.features else ""),
        ("classes", ", ".join(manifest.classes)),
        ("edges", f"{manifest.edges:,} in all steps, {'directed' if manifest.is_directed else 'both directions'}"),
        ("rows", f"{manifest.rows_read:,} read, {fate(manifest)}"),
        *(("note", f"{count:,} {note}") for note, count in manifest.notes.items()),
        *(("source", f"{file} (sha256 {known[:12]})") for file, known in manifest.sources.items()),
        ("origin", manifest.origin),
        ("licence", manifest.licence),
    ]
    return "\n".join(f"{name:<12}{text}" for name, text in lines if text)


def _sources(spec: GraphSpec) -> Sources:
    files = {"edges": find_files(resolved(spec.data.files, spec.folder))}
    if spec.data.nodes is not None:
        files["nodes"] = find_files(resolved(spec.data.nodes.files, spec.folder))
    return Sources(
        files=files,
        edges=[],
        zones=None,
        hashes={portable_name(file, spec.folder): sha256(file) for group in files.values() for file in group},
        recipe=f"{spec.digest('data')}-{code_fingerprint('data')}",
        folder=spec.folder,
    )


def _stored(spec: GraphSpec, sources: Sources, say: Say) -> SnapshotSet | None:
    root = settings.datasets()
    known = store.find(root, spec.name, recipe=sources.recipe, sources=sources.hashes, kind=SnapshotManifest)
    if known is None:
        return None
    try:
        dataset = snapshot_store.load(root, known.name, known.version)
    except StoreProblem as problem:
        say(f"{problem}: doing so")
        return None
    say(f"snapshots {_extent(dataset.manifest)}: files and settings unchanged, re-used")
    return dataset


def _read(spec: GraphSpec, sources: Sources) -> IngestedSnapshots:
    return _with_nodes(_read_edges(spec.data, sources), spec.data, sources)


def _read_edges(data: EdgeData, sources: Sources) -> IngestedSnapshots:
    return read_edge_events(
        sources.files["edges"],
        EventColumns(**data.columns.model_dump()),
        interval=data.interval,
        epoch=data.epoch,
        timezone=data.timezone,
        has_header=data.has_header,
        is_directed=not data.symmetrise,
        keep_self_loops=data.keep_self_loops,
        max_rejected_share=data.max_rejected_share,
        quarantine_examples=data.quarantine_examples,
    )


def _with_nodes(graph: IngestedSnapshots, data: EdgeData, sources: Sources) -> IngestedSnapshots:
    nodes = data.nodes
    if nodes is None:
        return graph
    columns = nodes.columns
    return add_node_table(
        graph,
        sources.files["nodes"],
        NodeColumns(columns.node, columns.time, columns.label, tuple(columns.features)),
        epoch=data.epoch,
        timezone=data.timezone,
        has_header=nodes.has_header,
        labels=LabelRules(tuple(nodes.unknown), None if nodes.classes is None else tuple(nodes.classes)),
        max_rejected_share=data.max_rejected_share,
        quarantine_examples=data.quarantine_examples,
    )


def _manifest(spec: GraphSpec, sources: Sources, ingested: IngestedSnapshots) -> SnapshotManifest:
    snapshots = ingested.snapshots
    return SnapshotManifest(
        name=spec.name,
        version=snapshot_store.content_hash(snapshots),
        sources=sources.hashes,
        rows_read=ingested.rows_read,
        rows_used=ingested.rows_used,
        rejected={reason: count for reason, count in ingested.rejections.counts.items() if count},
        notes=ingested.notes,
        source_columns=ingested.source_columns,
        span=(step_name(snapshots.clock[0]), step_name(snapshots.clock[-1])),
        interval=snapshots.interval,
        timezone=snapshot_store.timezone_of(snapshots),
        steps=len(snapshots),
        nodes=len(snapshots.names),
        edges=int(snapshots.edge_counts().sum()),
        is_directed=snapshots.is_directed,
        origin=spec.data.origin,
        licence=spec.data.licence,
        recipe=sources.recipe,
        features=list(snapshots.features),
        classes=list(snapshots.classes),
    )


def step_name(step: pd.Timestamp | int) -> str:
    """ISO 8601 with offset, or the rank where there are no times."""
    return step.isoformat() if isinstance(step, pd.Timestamp) else str(step)


def _extent(manifest: SnapshotManifest) -> str:
    return (
        f"{manifest.name}/{manifest.version} ({manifest.steps:,} steps of {manifest.interval}, "
        f"{manifest.nodes:,} nodes, {manifest.edges:,} edges)"
    )
