"""Data sets on disk, named by what is in them.

A version is the hash of the content, so a data set never changes once written, and the same input is stored once:

    <root>/<name>/<version>/panel.parquet   one row per step and node, one column `value.<variable>`, null: unobserved
                            flows.parquet   time, source, target, weight; absent where there are no flows
                            nodes.parquet   what is known of each node, in the order of the panel
                            manifest.json   where it came from, what became of every row, the hashes of these files

A set is written in a folder beside its place and renamed when it is whole: a kill or a full disk leaves no half of one.
"""

import errno
import hashlib
import io
import json
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import pandas as pd
import polars as pl

from data.dataset import DataSet, Manifest, Release
from data.errors import StoreProblem
from data.panel import Panel
from data.regular import as_index

MANIFEST = "manifest.json"
STAGING = ".staging-"
STALE_SECONDS = 3600
PREFIX = "value."


class Account(Protocol):
    """What the manifests of all kinds of data set have in common; each is a frozen dataclass."""

    @property
    def sources(self) -> dict[str, str]: ...
    @property
    def recipe(self) -> str: ...


M = TypeVar("M", bound=Account)
Settle = Callable[[str], Manifest]  # from the version

# ---------------------------------------------------------------- the version


def content_hash(panel: Panel, flows: pl.DataFrame | None) -> str:
    """16 hex digits that depend on the content alone: not on the machine, a file format or a library's version."""
    digest = hashlib.sha256()
    header = [panel.nodes, panel.variables, panel.interval, panel.timezone, panel.static.columns, panel.static.rows()]
    digest.update(json.dumps(header, default=str).encode())
    add_numbers(digest, instants(panel.index), "<i8")
    add_numbers(digest, panel.mask, "|u1")
    add_numbers(digest, np.where(panel.mask, panel.values, 0.0) + 0.0, "<f8")  # no NaN payloads, no negative zero
    if flows is not None:
        _add_flows(digest, flows.sort("time", "source", "target"))
    return digest.hexdigest()[:16]


def _add_flows(digest: "hashlib._Hash", flows: pl.DataFrame) -> None:
    names = sorted(set(flows["source"].unique()) | set(flows["target"].unique()))
    digest.update(json.dumps(["flows", names]).encode())
    add_numbers(digest, flows["time"].dt.epoch("us").to_numpy(), "<i8")
    for column in ("source", "target"):
        add_numbers(digest, flows[column].cast(pl.Enum(names)).to_physical().to_numpy(), "<i8")
    add_numbers(digest, flows["weight"].to_numpy() + 0.0, "<f8")


def add_numbers(digest: "hashlib._Hash", numbers: np.ndarray, form: str) -> None:
    digest.update(np.ascontiguousarray(numbers, dtype=form).data)


def instants(index: pd.DatetimeIndex) -> np.ndarray:
    """Microseconds since 1970, UTC."""
    return index.as_unit("us").asi8


# ---------------------------------------------------------------- writing


def save(dataset: DataSet, root: Path) -> Path:
    """Store the data set under its name and version, and give its folder.

    Content that is there already stays as it is; only its manifest becomes the newer account of how it came about.
    Raises StoreProblem when the disk is full, read-only, or not ours to write.
    """
    folder = root / dataset.manifest.name / dataset.manifest.version
    put(folder, _tables(dataset.panel, dataset.flows), dataset.manifest)
    return folder


def save_settled(panel: Panel, flows: pl.DataFrame | None, *, name: str, root: Path, settle: Settle) -> DataSet:
    """As `save`, for content that must be accounted for before anybody can find it.

    `settle` is called with the version when the content is on the disk under a temporary name; what it gives is the
    manifest, and then the content gets its name. If it raises, or a kill comes in between, nothing is stored.
    """
    version = content_hash(panel, flows)
    found: list[DataSet] = []

    def settled() -> Manifest:
        found.append(DataSet(panel, flows, settle(version)))
        return found[0].manifest

    tables = _tables(panel, flows)
    _put(root / name / version, tables, settled)
    return found[0]


def put(folder: Path, contents: Iterable[tuple[str, bytes]], manifest: Account) -> None:
    """Make `folder` hold these files (name, content) and the manifest, wholly or not at all, as `save` promises."""
    _put(folder, contents, lambda: manifest)


def _put(folder: Path, contents: Iterable[tuple[str, bytes]], settled: Callable[[], Account]) -> None:
    with told_plainly(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        _sweep(folder.parent)
        with _staging(folder.parent) as staging:
            hashes = {name: _write(staging / name, content) for name, content in contents}
            manifest = settled()
            account = json.dumps({**asdict(manifest), "files": hashes}, indent=1)  # type: ignore[call-overload]
            _write(staging / MANIFEST, account.encode())
            _put_in_place(staging, folder, type(manifest))


def _tables(panel: Panel, flows: pl.DataFrame | None) -> Iterator[tuple[str, bytes]]:
    yield "panel.parquet", parquet_bytes(_panel_table(panel))
    yield "nodes.parquet", parquet_bytes(panel.static)
    if flows is not None:
        yield "flows.parquet", parquet_bytes(flows)


def _panel_table(panel: Panel) -> pl.DataFrame:
    steps, nodes = panel.values.shape[:2]
    clock = pl.Series("time", instants(panel.index)).cast(pl.Datetime("us", "UTC")).dt.convert_time_zone(panel.timezone)
    table = {
        "time": clock.gather(np.repeat(np.arange(steps), nodes)),
        "node": pl.Series(panel.nodes, dtype=pl.String).gather(np.tile(np.arange(nodes), steps)),
    }
    for f, variable in enumerate(panel.variables):
        observed = np.where(panel.mask[:, :, f], panel.values[:, :, f], np.nan).ravel()
        table[PREFIX + variable] = pl.Series(observed).fill_nan(None)
    return pl.DataFrame(table)


def parquet_bytes(table: pl.DataFrame) -> bytes:
    """In memory first: written by polars itself, a full disk would be told as a malformed file."""
    buffer = io.BytesIO()
    table.write_parquet(buffer, compression="zstd")
    return buffer.getvalue()


def _write(file: Path, content: bytes) -> str:
    """Write `content` down to the disk; gives its sha256."""
    with file.open("wb") as out:
        out.write(content)
        out.flush()
        os.fsync(out.fileno())
    return hashlib.sha256(content).hexdigest()


def _put_in_place(staging: Path, folder: Path, kind: type[Account]) -> None:
    """Rename the whole folder; where the same content lies there undamaged, replace only its manifest."""
    if folder.exists() and damaged(folder, kind):
        os.rename(folder, f"{staging}-damaged")  # swept away by a later save
    try:
        os.rename(staging, folder)
    except OSError:
        if damaged(folder, kind):
            raise
        os.replace(staging / MANIFEST, folder / MANIFEST)
    _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _staging(beside: Path) -> Iterator[Path]:
    staging = beside / f"{STAGING}{os.getpid()}-{secrets.token_hex(4)}"
    staging.mkdir()
    try:
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)  # gone already when all went well


def _sweep(folder: Path) -> None:
    """Remove what a killed process left; a young folder may belong to one that still writes."""
    for left in folder.glob(f"{STAGING}*"):
        with suppress(FileNotFoundError):
            if time.time() - left.stat().st_mtime > STALE_SECONDS:
                shutil.rmtree(left)


CAUSES = {
    errno.ENOSPC: "the disk is full; free some space",
    errno.EDQUOT: "the disk quota is used up; free some space",
    errno.EFBIG: "a file grew beyond the size that this system allows",
    errno.EROFS: "the file system is read-only; set FLOCKCAST_HOME to a folder that can be written",
    errno.EACCES: "this user may not write there; set FLOCKCAST_HOME to a folder of yours",
    errno.EPERM: "this user may not write there; set FLOCKCAST_HOME to a folder of yours",
    errno.ENOTDIR: "a part of that path is a file, not a folder; set FLOCKCAST_HOME to another folder",
    errno.EEXIST: "a part of that path is a file, not a folder; set FLOCKCAST_HOME to another folder",
}


@contextmanager
def told_plainly(place: Path) -> Iterator[None]:
    """Whatever is written inside: where the system refuses, a StoreProblem says why and what to do."""
    try:
        yield
    except OSError as error:
        cause = CAUSES.get(error.errno or 0, error.strerror or str(error))
        raise StoreProblem(f"can't write to {place}: {cause}") from None


# ---------------------------------------------------------------- reading


def load(root: Path, name: str, version: str) -> DataSet:
    """The stored data set. Raises StoreProblem if it isn't there, or if a file of it is not what was written."""
    folder, manifest = find_whole(root, name, version, Manifest)
    flows = folder / "flows.parquet"
    return DataSet(
        panel=_panel(pl.read_parquet(folder / "panel.parquet"), pl.read_parquet(folder / "nodes.parquet"), manifest),
        flows=pl.read_parquet(flows) if flows.exists() else None,
        manifest=manifest,
    )


def find_whole(root: Path, name: str, version: str, kind: type[M]) -> tuple[Path, M]:
    """The folder of a version and its manifest. Raises StoreProblem as `load` does."""
    folder = root / name / version
    if not folder.is_dir():
        raise StoreProblem(f"there is no data set {name}/{version} in {root}; ingest its source again")
    if file := damaged(folder, kind):
        raise StoreProblem(f"{folder / file} is damaged or missing; ingest its source again")
    return folder, _manifest(folder, kind)


def damaged(folder: Path, kind: type[Account] = Manifest) -> str | None:
    """The name of the first file that is missing or not what was written, if there is one."""
    try:
        hashes = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
        _manifest(folder, kind)
    except (OSError, ValueError, KeyError, TypeError):
        return MANIFEST
    return next((name for name, known in hashes.items() if _sha256(folder / name) != known), None)


def _sha256(file: Path) -> str | None:
    try:
        with file.open("rb") as content:
            return hashlib.file_digest(content, "sha256").hexdigest()
    except OSError:
        return None


def _manifest(folder: Path, kind: type[M]) -> M:
    content: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    known = {field.name: content[field.name] for field in fields(kind)}  # type: ignore[arg-type]
    if known.get("release"):
        known["release"] = Release(**known["release"])
    return kind(**known | {"span": tuple(content["span"])})


def _panel(table: pl.DataFrame, static: pl.DataFrame, manifest: Manifest) -> Panel:
    shape = (-1, len(static), len(manifest.variables))
    values = table.select(pl.col(PREFIX + v).fill_null(np.nan) for v in manifest.variables).to_numpy()
    values = np.ascontiguousarray(values.reshape(shape))
    return Panel(
        values=values,
        mask=~np.isnan(values),
        index=as_index(table["time"].gather_every(len(static)), manifest.timezone),
        nodes=tuple(static["node"]),
        variables=tuple(manifest.variables),
        interval=manifest.interval,
        static=static,
    )


def manifests(root: Path, name: str, kind: type[M] = Manifest) -> list[M]:  # type: ignore[assignment]
    """How the data sets of this name and kind came about, newest first; what can't be read so is passed over."""
    files = sorted((root / name).glob(f"[!.]*/{MANIFEST}"), key=lambda file: file.stat().st_mtime, reverse=True)
    read = []
    for file in files:
        with suppress(ValueError, KeyError, TypeError, OSError):
            read.append(_manifest(file.parent, kind))
    return read


def find(
    root: Path,
    name: str,
    *,
    recipe: str,
    sources: dict[str, str],
    kind: type[M] = Manifest,  # type: ignore[assignment]
) -> M | None:
    """The newest data set of this kind that the same recipe made of the same files."""
    same = (known for known in manifests(root, name, kind) if known.recipe == recipe and known.sources == sources)
    return next(same, None)
