"""Find, open and check the files a data set is made of.

CSV columns are all read as text: an identifier keeps its leading zeros, and a value is interpreted only where its
meaning is known.
"""

import difflib
import glob
import gzip
import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import polars as pl

from data.errors import DataError

SUFFIXES = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".txt", ".txt.gz", ".parquet")
SEPARATORS = ",;\t|"
CAUSES = {  # what a reader's words for a broken file mean for whoever made it
    "invalid utf-8": "its text is not UTF-8; save it as UTF-8",
    "found more fields": "a row has more cells than the first line names columns",
}
HEADER_BYTES = 65_536  # the first line of a file is no longer than this


def find_files(patterns: str | list[str]) -> list[Path]:
    """The files that the paths and globs name, sorted, each once.

    Raises DataError where one of them matches nothing, names a folder, or a file is empty.
    """
    wanted = [patterns] if isinstance(patterns, str) else patterns
    files = sorted({file for pattern in wanted for file in _matches(pattern)})
    if not files:
        raise DataError("no file is named; `files` needs a path or a glob")
    for file in files:
        if file.stat().st_size == 0:
            raise DataError(f"{file} is empty (0 bytes)")
    return files


def _matches(pattern: str) -> list[Path]:
    path = Path(pattern)
    if path.is_dir():
        raise DataError(f"{pattern} is a folder; name the files in it, for example {path / '*.parquet'}")
    found = [path] if path.exists() else [Path(name) for name in glob.glob(pattern, recursive=True)]
    files = [file for file in found if file.is_file()]
    if not files:
        raise DataError(f"no file matches {pattern}; relative paths start at the folder of the spec")
    return files


def scan(file: Path, *, has_header: bool = True) -> pl.LazyFrame:
    """The rows of a .csv, .tsv, .txt (also .gz) or .parquet file, not yet read.

    Without a header, columns are called column_0, column_1, ...
    Raises DataError where the suffix is another one or the file's head can't be read.
    """
    suffix = _suffix(file)
    with readable([file]):
        if suffix == ".parquet":
            frame = pl.scan_parquet(file, glob=False)
        else:
            frame = pl.scan_csv(file, separator=_separator(file), has_header=has_header, infer_schema=False, glob=False)
        frame.collect_schema()
    return frame


def _separator(file: Path) -> str:
    """What parts the columns: the sign that the first line has most of; where it has none a blank, or else a comma."""
    with gzip.open(file) if file.suffix.lower() == ".gz" else file.open("rb") as content:
        header = content.readline(HEADER_BYTES).decode(errors="replace")
    bare = re.sub(r'"[^"]*"', "", header)
    if not any(sign in bare for sign in SEPARATORS) and " " in bare.strip():
        return " "
    return max(SEPARATORS, key=bare.count)


def scan_all(files: Sequence[Path], wanted: Iterable[str], *, has_header: bool = True) -> pl.LazyFrame:
    """The rows of all files under one another, each of which must have the columns `wanted`.

    A further column that only some of the files have is null in the others.
    """
    wanted = list(wanted)
    frames = [scan(file, has_header=has_header) for file in files]
    for file, frame in zip(files, frames, strict=True):
        require_columns(frame, wanted, file)
    if len(frames) == 1:
        return frames[0]
    with readable(files):
        whole = pl.concat(frames, how="diagonal_relaxed")
        whole.collect_schema()
    return whole


def sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def require_columns(frame: pl.LazyFrame | pl.DataFrame, wanted: Iterable[str], file: Path) -> None:
    """Raises DataError naming the first column of `wanted` that the frame lacks, and the nearest that it has."""
    present = frame.collect_schema().names()
    for column in wanted:
        if column not in present:
            close = difflib.get_close_matches(column, present, n=1, cutoff=0.5)
            nearest = f" (did you mean {close[0]!r}?)" if close else ""
            raise DataError(f"{file}: no column {column!r}{nearest}; the columns are: {', '.join(present)}")


@contextmanager
def readable(files: Sequence[Path]) -> Iterator[None]:
    """Whatever is read inside comes from `files`: a failure becomes a DataError that names the broken one."""
    try:
        yield
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, UnicodeDecodeError) as error:
        culprit = files[0] if len(files) == 1 else _first_broken(files)
        where = str(culprit) if culprit else f"{files[0]} and {len(files) - 1} more do not fit together"
        raise DataError(f"{where}: can't be read: {_cause(_first_line(error))}") from None


def _first_broken(files: Sequence[Path]) -> Path | None:
    for file in files:
        try:
            scan(file).select(pl.all().null_count()).collect(engine="streaming")
        except (DataError, pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError):
            return file
    return None


def _cause(told: str) -> str:
    known = next((cause for words, cause in CAUSES.items() if words in told.lower()), None)
    return known or f"{told}; is it damaged, or of another kind?"


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _suffix(file: Path) -> str:
    for suffix in SUFFIXES:
        if file.name.lower().endswith(suffix):
            return suffix
    raise DataError(f"{file}: can't tell what kind of file this is; known are {', '.join(SUFFIXES)}")
