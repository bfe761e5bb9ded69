"""What quotes rows of the source, examples and reasons: kept outside the store for their owner's eyes alone."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import polars.selectors as cs

from data import store
from data.dataset import Ingested, Rejections
from data.edge_events import IngestedSnapshots
from data.errors import DataError, StoreProblem, TooManyRejected
from data.trip_rows import TripRows
from pipelines import settings
from pipelines.errors import StoreError
from pipelines.sources import Sources
from pipelines.spec import Experiment

R = TypeVar("R", Ingested, IngestedSnapshots, TripRows)
W = TypeVar("W")


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
            _write_private(file, flat.write_csv())
    except StoreProblem as problem:
        raise StoreError(str(problem)) from None
    return file


def keeping_the_reason(spec: Experiment, sources: Sources, work: Callable[[], W]) -> W:
    """What `work` gives. Why it can't be done quotes rows of people, so that goes to a file for their owner alone, and
    the error, which a server may log, names the file. Raises DataError."""
    try:
        return work()
    except TooManyRejected:
        raise
    except DataError as error:
        file = quarantine_file(spec, sources).with_suffix(".txt")
        try:
            with store.told_plainly(file):
                _write_private(file, f"{error}\n")
        except StoreProblem as problem:
            raise StoreError(str(problem)) from None
        raise DataError(
            f"the rows can't be counted as they are. What is wrong, and where, is in {file}, for their owner alone"
        ) from None


def _write_private(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    whole = file.with_suffix(f".{os.getpid()}")
    handle = os.open(whole, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as out:
        out.write(text)
    os.replace(whole, file)
