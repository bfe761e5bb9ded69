"""Which files a spec names, and what identifies them."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from data import bundled
from data.sources import find_files, sha256
from data.zones import ZoneTable
from pipelines.fingerprint import code_fingerprint
from pipelines.spec import Data, LongData, Spec, WideData


@dataclass(frozen=True)
class Sources:
    """The files of a spec: `files` by variable (one entry where the files don't say), and what identifies them."""

    files: dict[str, list[Path]]
    edges: list[Path]  # between the series, where the spec names any
    zones: ZoneTable | None
    hashes: dict[str, str]  # name -> sha256
    recipe: str
    folder: Path  # of the spec

    @property
    def all(self) -> list[Path]:
        return [file for files in self.files.values() for file in files]

    @property
    def of_rows(self) -> dict[str, str]:
        """Name -> sha256 of the files with data; the zone table is none."""
        rows = {portable_name(file, self.folder) for file in [*self.all, *self.edges]}
        return {name: known for name, known in self.hashes.items() if name in rows}

    @property
    def called(self) -> str:
        more = len(self.all) - 1
        return next(iter(self.hashes)) + (f" and {more:,} more" if more else "")

    @property
    def key(self) -> str:
        return hashlib.sha256(json.dumps([self.recipe, self.hashes], sort_keys=True).encode()).hexdigest()[:16]


def sources_of(spec: Spec) -> Sources:
    data = spec.data
    named = data.files if isinstance(data.files, dict) else {getattr(data, "variable", "y"): data.files}
    files = {variable: find_files(resolved(paths, spec.folder)) for variable, paths in named.items()}
    zones = zone_table(data, spec.folder)
    between = data.edges.files if isinstance(data, LongData | WideData) and data.edges else []
    edges = find_files(resolved(between, spec.folder)) if between else []
    everything = [file for paths in files.values() for file in paths] + edges + ([zones.file] if zones else [])
    return Sources(
        files=files,
        edges=edges,
        zones=zones,
        hashes={portable_name(file, spec.folder): sha256(file) for file in everything},
        recipe=f"{spec.digest('data')}-{code_fingerprint('data')}",
        folder=spec.folder,
    )


def resolved(paths: str | list[str], folder: Path) -> list[str]:
    return [bundled.resolve(path, folder) for path in ([paths] if isinstance(paths, str) else paths)]


def zone_table(data: Data, folder: Path) -> ZoneTable | None:
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
