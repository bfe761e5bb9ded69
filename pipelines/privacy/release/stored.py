"""Releases that were drawn before: which periods they hold, and how a new one is stored."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from data import store
from data.dataset import DataSet, Manifest, Release
from data.errors import StoreProblem
from pipelines import settings
from pipelines.errors import StoreError
from pipelines.privacy.claim import Protection
from pipelines.privacy.release.domain import Domain
from pipelines.privacy.release.drawing import assembled, disassembled


@dataclass(frozen=True)
class Kept:
    """What stored releases have of a domain."""

    cells: np.ndarray  # [T, N, K], NaN where nothing was drawn yet
    missing: list[str]  # periods, in order of time
    told: Release | None  # of the stored releases together: of each figure the one that promises least
    whole: DataSet | None  # the stored release that is this very domain


def kept_for(domain: Domain) -> Kept:
    """Raises StoreError where a stored release is damaged: drawing it again would be a second spend."""
    cells = np.full(domain.mask.shape, np.nan)
    missing = list(domain.revisions)
    told: Release | None = None
    whole: DataSet | None = None
    for manifest in _manifests(domain):
        assert manifest.release is not None
        held = [period for period in missing if manifest.release.periods.get(period) == domain.revisions[period]]
        if not held:
            continue
        dataset = _loaded(manifest)
        taken = _taken(domain, dataset, held, cells)
        if not taken:
            continue
        missing = [period for period in missing if period not in taken]
        told = joined(told, manifest.release)
        if _is_whole(domain, dataset):
            whole = dataset
    return Kept(cells, missing, told, whole if not missing else None)


def joined(newer: Release | None, older: Release) -> Release:
    """Two releases as one. Each period has values of one draw, so of both promises the weaker speaks for all."""
    if newer is None:
        return older
    epsilons = {each.protection: Protection.from_json(each.protection).claim.epsilon for each in (newer, older)}
    return Release(
        protection=max(epsilons, key=lambda protection: epsilons[protection]),
        variance={name: max(value, older.variance[name]) for name, value in newer.variance.items()},
        periods=older.periods | newer.periods,
        runs=list(dict.fromkeys([*older.runs, *newer.runs])),
    )


def keep(domain: Domain, cells: np.ndarray, settle: Callable[[str], Manifest]) -> DataSet:
    """Store the release of these cells [T, N, K]; `settle` gives its manifest once all of it is on the disk."""
    panel, flows = assembled(cells, domain)
    try:
        return store.save_settled(panel, flows, name=domain.spec.name, root=settings.datasets(), settle=settle)
    except StoreProblem as problem:
        raise StoreError(str(problem)) from None


def _manifests(domain: Domain) -> list[Manifest]:
    """Of this recipe, newest first."""
    found: list[Manifest] = store.manifests(settings.datasets(), domain.spec.name)
    return [manifest for manifest in found if manifest.recipe == domain.recipe and manifest.release is not None]


def _loaded(manifest: Manifest) -> DataSet:
    try:
        return store.load(settings.datasets(), manifest.name, manifest.version)
    except StoreProblem as problem:
        raise StoreError(
            f"the release {manifest.name}/{manifest.version} was drawn and paid for, but {str(problem).split(';')[0]}: "
            "put its files back from a copy. To draw its periods again, at their full cost, raise their numbers in "
            f"privacy.revised and remove {settings.datasets() / manifest.name / manifest.version}"
        ) from None


def _taken(domain: Domain, dataset: DataSet, periods: list[str], cells: np.ndarray) -> set[str]:
    """Take the cells of `periods` over into `cells`; gives the periods of which the release has all cells."""
    before = disassembled(dataset.panel, dataset.flows)
    at = dataset.panel.index.get_indexer(domain.index)
    taken = set()
    for period in periods:
        steps = domain.steps_in([period]) & (at >= 0)
        if not steps.any():
            continue
        values = np.where(domain.mask[steps], before[at[steps]], np.nan)
        if np.array_equal(~np.isnan(values), domain.mask[steps]) and steps.sum() == domain.steps_in([period]).sum():
            cells[steps] = values
            taken.add(period)
    return taken


def _is_whole(domain: Domain, dataset: DataSet) -> bool:
    release = dataset.manifest.release
    assert release is not None
    return (
        release.periods == domain.revisions
        and dataset.panel.index.equals(domain.index)
        and bool(np.array_equal(dataset.panel.mask.any(axis=2), domain.mask.any(axis=2)))
    )
