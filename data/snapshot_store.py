"""Snapshots on disk, beside the data sets of `data.store` and with its promises: named by content, whole or not there.

<root>/<name>/<version>/edges.parquet     step, source, target (global ids), weight, and label where there are any
                        members.parquet   step, node (global id), and features `x` and `label` where there are any
                        nodes.parquet     the names of all nodes, in the order of their ids
                        clock.parquet     one row per step: its start, or its rank where there are no times
                        manifest.json     where it came from, what became of every row, the hashes of these files
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import torch
from torch import Tensor

from data.regular import as_index
from data.snapshots import Snapshot, Snapshots
from data.store import add_numbers, find_whole, instants, parquet_bytes, put

RANKS = ""  # the time zone of a clock without times


@dataclass(frozen=True)
class SnapshotManifest:
    """Where snapshots came from and what became of every row: `rows_read == rows_used + sum(rejected.values())`.

    `timezone` is empty where the clock has ranks. `edges` counts the edges of all steps, both directions of an
    undirected one.
    """

    name: str
    version: str
    sources: dict[str, str]  # file -> sha256
    rows_read: int
    rows_used: int
    rejected: dict[str, int]
    notes: dict[str, int]
    source_columns: dict[str, str]  # column -> type, as found in the file
    span: tuple[str, str]  # first and last step, ISO 8601 with offset, or ranks
    interval: str
    timezone: str
    steps: int
    nodes: int
    edges: int
    is_directed: bool
    origin: str
    licence: str
    recipe: str  # digest of the [data] table and the version of the ingest code
    features: list[str] = field(default_factory=list)  # of a node, in the order of `x`
    classes: list[str] = field(default_factory=list)  # of a node, in the order of its labels


@dataclass(frozen=True)
class SnapshotSet:
    snapshots: Snapshots
    manifest: SnapshotManifest


# ---------------------------------------------------------------- the version


def content_hash(snapshots: Snapshots) -> str:
    """16 hex digits that depend on the content alone, as those of `data.store`."""
    digest = hashlib.sha256()
    header: list[object] = [snapshots.names, snapshots.interval, snapshots.is_directed, timezone_of(snapshots)]
    if snapshots.features or snapshots.classes:  # others keep the version that they had before there were any
        header += [snapshots.features, snapshots.classes]
    digest.update(json.dumps(["snapshots", *header]).encode())
    add_numbers(digest, _clock_numbers(snapshots.clock), "<i8")
    for snapshot in snapshots:
        _add_snapshot(digest, snapshot)
    return digest.hexdigest()[:16]


def timezone_of(snapshots: Snapshots) -> str:
    """The time zone of the clock, empty where it has ranks."""
    return str(snapshots.clock.tz) if isinstance(snapshots.clock, pd.DatetimeIndex) else RANKS


def _add_snapshot(digest: "hashlib._Hash", snapshot: Snapshot) -> None:
    parts = {
        "nodes": (snapshot.nodes, "<i8"),
        "edge_index": (snapshot.edge_index, "<i8"),
        "edge_weight": (snapshot.edge_weight + 0.0, "<f4"),  # no negative zero
        "x": (None if snapshot.x is None else snapshot.x + 0.0, "<f4"),
        "edge_label": (snapshot.edge_label, "<i8"),
        "node_label": (snapshot.node_label, "<i8"),
    }
    for name, (values, form) in parts.items():
        digest.update(json.dumps([name, None if values is None else list(values.shape)]).encode())
        if values is not None:
            add_numbers(digest, values.numpy(), form)


def _clock_numbers(clock: pd.Index) -> np.ndarray:
    return instants(clock) if isinstance(clock, pd.DatetimeIndex) else clock.to_numpy()


# ---------------------------------------------------------------- writing


def save(stored: SnapshotSet, root: Path) -> Path:
    """Store the snapshots under their name and version, and give their folder.

    Content that is there already stays as it is; only its manifest becomes the newer account of how it came about.
    Raises StoreProblem when the disk is full, read-only, or not ours to write.
    """
    folder = root / stored.manifest.name / stored.manifest.version
    put(folder, _contents(stored.snapshots), stored.manifest)
    return folder


def _contents(snapshots: Snapshots) -> Iterator[tuple[str, bytes]]:
    yield "edges.parquet", parquet_bytes(_edges(snapshots))
    yield "members.parquet", parquet_bytes(_members(snapshots))
    yield "nodes.parquet", parquet_bytes(pl.DataFrame({"name": snapshots.names}, schema={"name": pl.String}))
    yield "clock.parquet", parquet_bytes(_clock_table(snapshots))


def _edges(snapshots: Snapshots) -> pl.DataFrame:
    ends = torch.cat([snapshot.nodes[snapshot.edge_index] for snapshot in snapshots], dim=1)
    table = {
        "step": _step_column(snapshots.edge_counts()),
        "source": ends[0].numpy(),
        "target": ends[1].numpy(),
        "weight": torch.cat([snapshot.edge_weight for snapshot in snapshots]).numpy(),
    }
    return pl.DataFrame(table | _joined("label", snapshots, lambda snapshot: snapshot.edge_label))


def _members(snapshots: Snapshots) -> pl.DataFrame:
    table = {
        "step": _step_column(snapshots.node_counts()),
        "node": torch.cat([snapshot.nodes for snapshot in snapshots]).numpy(),
    }
    labels = _joined("label", snapshots, lambda snapshot: snapshot.node_label)
    return pl.DataFrame(table | labels | _joined("x", snapshots, lambda snapshot: snapshot.x))


def _step_column(counts: Tensor) -> np.ndarray:
    return np.repeat(np.arange(len(counts), dtype=np.int32), counts.numpy())


def _joined(name: str, snapshots: Snapshots, part: Callable[[Snapshot], Tensor | None]) -> dict[str, np.ndarray]:
    """The rows of one part of all snapshots as a column; no column where they have none."""
    parts = [values for snapshot in snapshots if (values := part(snapshot)) is not None]
    if not parts:
        return {}
    if len(parts) < len(snapshots):
        raise ValueError(f"{len(parts)} of {len(snapshots)} snapshots have {name}; give it to all of them or to none")
    return {name: torch.cat(parts).numpy()}


def _clock_table(snapshots: Snapshots) -> pl.DataFrame:
    numbers = pl.Series("rank", _clock_numbers(snapshots.clock), dtype=pl.Int64)
    zone = timezone_of(snapshots)
    if zone == RANKS:
        return numbers.to_frame()
    return numbers.cast(pl.Datetime("us", "UTC")).dt.convert_time_zone(zone).alias("time").to_frame()


# ---------------------------------------------------------------- reading


def load(root: Path, name: str, version: str) -> SnapshotSet:
    """The stored snapshots. Raises StoreProblem if they aren't there, or if a file is not what was written."""
    folder, manifest = find_whole(root, name, version, SnapshotManifest)
    edges, members, names, clock = (
        pl.read_parquet(folder / f"{table}.parquet") for table in ("edges", "members", "nodes", "clock")
    )
    edge_parts = _by_step(edges, manifest.steps)
    member_parts = _by_step(members, manifest.steps)
    snapshots = Snapshots(
        steps=tuple(_snapshot(*parts) for parts in zip(edge_parts, member_parts, strict=True)),
        names=tuple(names["name"]),
        clock=_clock(clock, manifest.timezone),
        interval=manifest.interval,
        is_directed=manifest.is_directed,
        features=tuple(manifest.features),
        classes=tuple(manifest.classes),
    )
    return SnapshotSet(snapshots, manifest)


def _by_step(table: pl.DataFrame, steps: int) -> Iterator[dict[str, Tensor]]:
    columns = {name: torch.from_numpy(table[name].to_numpy(writable=True)) for name in table.columns if name != "step"}
    bounds = np.searchsorted(table["step"].to_numpy(), np.arange(steps + 1))
    for first, last in pairwise(bounds):
        yield {name: values[first:last] for name, values in columns.items()}


def _snapshot(edges: dict[str, Tensor], members: dict[str, Tensor]) -> Snapshot:
    ends = torch.stack([edges["source"], edges["target"]])
    return Snapshot(
        nodes=members["node"],
        edge_index=torch.searchsorted(members["node"], ends),
        edge_weight=edges["weight"],
        x=members.get("x"),
        edge_label=edges.get("label"),
        node_label=members.get("label"),
    )


def _clock(table: pl.DataFrame, timezone: str) -> pd.Index:
    if timezone == RANKS:
        return pd.Index(table["rank"].to_numpy())
    return as_index(table["time"], timezone)
