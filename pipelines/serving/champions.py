"""The champions that serve, kept in memory.

A champion is loaded once. At most every `recheck_seconds` one request looks whether the alias has moved or newer data
was stored, while the others go on with what is there. Where that look fails, the champion in memory keeps serving.
"""

import logging
import time
from dataclasses import dataclass
from threading import Lock

import polars as pl

from data import store
from data.dataset import Manifest
from data.errors import DataError
from data.panel import Panel
from pipelines.errors import FlockcastError, RegistryUnreachable
from pipelines.predict import Predictor
from pipelines.registry import GRAPH, Version, champion, client, fetch_forecaster, versions
from pipelines.serving.failures import Refusal
from pipelines.settings import datasets

log = logging.getLogger("uvicorn.error")


@dataclass(frozen=True)
class Champion:
    """A loaded version, and the end of the newest stored data set where there is one; flows where it reads them."""

    name: str
    version: str
    predictor: Predictor
    history: Panel | None
    stored: Manifest | None  # of that data set
    flows: pl.DataFrame | None = None

    @property
    def data_set_version(self) -> str | None:
        return self.stored.version if self.stored is not None else None


class Champions:
    """Champions by registered name. Safe to share between threads; nothing is ever loaded twice at once."""

    def __init__(self, *, recheck_seconds: float) -> None:
        self.recheck_seconds = recheck_seconds
        self._lock = Lock()
        self._loaded: dict[str, Champion] = {}
        self._looked: dict[str, float] = {}  # when, on the monotonic clock

    def get(self, name: str) -> Champion:
        """The champion of `name`. Raises Refusal: 404 for an unknown name, 503 where no champion can be had."""
        present = self._loaded.get(name)
        if present is not None and (self._is_recent(name) or self._lock.locked()):
            return present
        with self._lock:
            return self._loaded[name] if self._is_recent(name) else self._look(name)

    def _is_recent(self, name: str) -> bool:
        return name in self._loaded and time.monotonic() - self._looked[name] < self.recheck_seconds

    def _look(self, name: str) -> Champion:
        present = self._loaded.get(name)
        try:
            found = load(name, present)
        except Refusal:
            self._loaded.pop(name, None)
            raise
        except (FlockcastError, DataError) as error:
            log.error("%s: %s", name, error)
            if present is None:
                raise _in_public(name, error) from error
            found = present
        self._looked[name] = time.monotonic()
        self._loaded[name] = found
        return found


def load(name: str, present: Champion | None = None) -> Champion:
    """The champion of `name` by the registry and the store of now; what `present` holds already is not read again.

    Raises Refusal where there is none, and what goes wrong in reading: FlockcastError, DataError.
    """
    registry = client()
    found = champion(registry, name)
    if found is None:
        raise _absent(name)
    if GRAPH in found.tags:
        raise Refusal(400, "graph_model", f"{name} is a model of a graph; forecast with `flockcast forecast`")
    version = str(found.version)
    if present is not None and present.version == version:
        predictor = present.predictor
    else:
        predictor = Predictor.load(fetch_forecaster(registry, found))
        log.info("%s version %s serves now", name, version)
    newest = next(filter(predictor.may_read, store.manifests(datasets(), predictor.config.name)), None)
    if newest is None:
        return Champion(name, version, predictor, None, None)
    if present is not None and predictor is present.predictor and present.stored == newest:
        return present
    stored = store.load(datasets(), newest.name, newest.version)
    flows = stored.links if predictor.edge_steps else None
    history = predictor.recent(predictor.stored(stored))
    return Champion(name, version, predictor, history, stored.manifest, flows)


def all_versions() -> list[Version]:
    """Every version of every model of ours that forecasts series. Raises Refusal without a registry."""
    try:
        return [row for row in versions() if not row.is_graph]
    except RegistryUnreachable as error:
        log.error("%s", error)
        raise _in_public("", error) from error


def _absent(name: str) -> Refusal:
    known = sorted({row.name for row in all_versions()})
    if name in known:
        return Refusal(503, "no_champion", f"{name} has no champion; promote a version with `flockcast models promote`")
    named = ", ".join(known) if known else "nothing is registered yet"
    return Refusal(404, "unknown_data_set", f"no model is registered as {name!r}; known: {named}")


def _in_public(name: str, error: Exception) -> Refusal:
    """What whoever asked may know of it: the message itself can hold paths and addresses, so it goes to the log."""
    if isinstance(error, RegistryUnreachable):
        return Refusal(503, "registry_unreachable", "the model registry can't be reached; try again later")
    return Refusal(503, "champion_unusable", f"the champion of {name} can't be loaded; the server's log says why")
