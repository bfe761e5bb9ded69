"""What noise is drawn, and that a release keeps its promise."""

import math

import numpy as np
import polars as pl
import pytest
from scipy import stats

from pipelines.privacy.mechanisms import GaussianRelease, GeometricRelease
from pipelines.privacy.release.counting import count
from pipelines.privacy.release.domain import domain_of
from pipelines.privacy.release.drawing import (
    assembled,
    consistent,
    disassembled,
    drowned,
    mechanism_of,
    noisy,
    variances,
)
from pipelines.privacy.sensitivity import of_presence, of_trips
from pipelines.privacy.spec import ReleasePrivacy
from pipelines.sources import sources_of


def privacy(**keys: object) -> ReleasePrivacy:
    return ReleasePrivacy.model_validate({"mechanism": "release", "unit": "trip", "epsilon": 1.0, **keys})


def test_the_noise_with_the_smaller_variance_is_taken():
    assert isinstance(mechanism_of(privacy(), of_trips(per_unit=1, per_cell=1)), GeometricRelease)
    presence = mechanism_of(privacy(), of_presence(slots=48))
    assert isinstance(presence, GaussianRelease)
    assert presence.scale == pytest.approx(29.3, abs=0.1), "the specification's figure for a person's day"


def test_the_noise_that_is_asked_for_is_taken():
    moved = of_presence(slots=48)
    assert mechanism_of(privacy(noise="geometric"), moved) == GeometricRelease(48, 48.0)
    assert isinstance(mechanism_of(privacy(noise="gaussian"), of_trips(per_unit=1, per_cell=1)), GaussianRelease)


def test_cells_outside_the_domain_are_neither_noised_nor_told():
    released = np.ones((4, 3, 1), dtype=bool)
    released[2] = False
    cells = noisy(np.full((4, 3, 1), 100), released, GeometricRelease(1, 1.0))
    assert np.isnan(cells[2]).all()
    assert (np.abs(cells[[0, 1, 3]] - 100) < 40).all()


@pytest.mark.parametrize("what", ["nodes", "flows"])
def test_cells_come_back_from_what_is_stored(make, what):
    spec = make(privacy={"counts": what})
    domain = domain_of(spec, spec.privacy)
    cells = noisy(np.zeros(domain.mask.shape, dtype=np.int64), domain.mask, GeometricRelease(1, 1.0))
    np.testing.assert_array_equal(disassembled(*assembled(cells, domain)), cells)


def test_noise_above_the_median_of_what_is_not_zero_is_told():
    assert drowned(np.array([0.0, 0.0, 50, 60, 70, np.nan]), 59.0) is None
    assert "standard deviation of 61" in str(drowned(np.array([0.0, 0.0, 50, 60, 70, np.nan]), 61.0))


def lower_bound(inside: int, outside: int, draws: int, delta: float) -> float:
    """Of epsilon, at 99.9 % confidence for each rate: Clopper and Pearson."""
    at_least = float(stats.beta.ppf(0.001, inside, draws - inside + 1)) if inside else 0.0
    at_most = float(stats.beta.ppf(0.999, outside + 1, draws - outside))
    return math.log(max(at_least - delta, 1e-12) / at_most)


DRAWS = 10_000


@pytest.mark.parametrize("noise", ["gaussian", "geometric"])
def test_an_attacker_who_knows_all_others_learns_no_more_than_is_promised(make, folder, noise):
    """10,000 releases with and without rider 1, by the best test of Neyman and Pearson: noise a quarter is caught."""
    spec = make(privacy={"noise": noise, "trips_per_unit": 2})
    domain = domain_of(spec, spec.privacy)
    drawn = domain.steps_in(["2024-03-04"])
    with_all = count(domain, sources_of(spec), drawn)
    rows = pl.read_csv(folder / "trips1.csv")
    rows.filter(pl.col("rider") != 1).write_csv(folder / "trips1.csv")
    moved = (with_all - count(domain, sources_of(spec), drawn)).ravel()
    own = moved[moved != 0]  # the cells that tell something, a handful
    assert own.sum() == domain.sensitivity(drawn).l1
    mechanism = mechanism_of(spec.privacy, domain.sensitivity(drawn))

    def bound(scale: float) -> float:
        used = type(mechanism)(mechanism.sensitivity, scale)
        everywhere = np.ones((DRAWS, len(own)), dtype=bool)
        present, absent = (
            evidence(noisy(np.tile(counts, (DRAWS, 1)), everywhere, used), own, used) for counts in (own, 0 * own)
        )
        threshold = float(np.quantile(absent, 0.995))
        return lower_bound(int((present > threshold).sum()), int((absent > threshold).sum()), DRAWS, 1e-6)

    assert bound(mechanism.scale) < 2.0, "the claim"
    assert bound(mechanism.scale / 4) > 2.0, "a planted bug: noise a quarter"


def evidence(cells: np.ndarray, own: np.ndarray, used: GaussianRelease | GeometricRelease) -> np.ndarray:
    """Logarithm of the likelihood ratio, [draws]."""
    if isinstance(used, GaussianRelease):
        return ((cells**2 - (cells - own) ** 2) / (2 * used.scale**2)).sum(axis=1)
    return ((np.abs(cells) - np.abs(cells - own)) / used.scale).sum(axis=1)


def test_half_the_noise_is_caught_directly(make):
    """A planted bug that an audit is too weak for."""
    spec = make(privacy={"noise": "gaussian"})
    domain = domain_of(spec, spec.privacy)
    used = mechanism_of(spec.privacy, domain.sensitivity(np.ones(len(domain.index), dtype=bool)))
    cells = noisy(np.zeros(domain.mask.shape, dtype=np.int64), domain.mask, used)
    share = cells.std() / used.scale
    assert abs(share - 1) < 5 / math.sqrt(2 * cells.size), "five standard errors"
    assert share > 2 / 3


def test_released_sums_of_nodes_add_up(make, folder):
    rows = [f"2024-03-{4 + hour // 24:02} {hour % 24:02}:00,7,{hour},{hour + 7}" for hour in range(48)]
    (folder / "wide.csv").write_text("\n".join(["time,north,south,total", *rows, ""]))
    from pipelines.spec import parse_spec

    spec = parse_spec(
        {
            "name": "present",
            "data": {
                "kind": "wide",
                "files": "wide.csv",
                "interval": "1h",
                "values": "counts",
                "start": "2024-03-04",
                "end": "2024-03-06",
                "columns": {"values": ["north", "south", "total"]},
            },
            "privacy": {
                "mechanism": "release",
                "unit": "user_day",
                "epsilon": 1.0,
                "one_place_per_step": True,
                "sums": {"total": ["north", "south"]},
            },
        },
        folder=folder,
    )
    domain = domain_of(spec, spec.privacy)
    counts = count(domain, sources_of(spec), np.ones(48, dtype=bool))
    used = GaussianRelease(1.0, 30.0)
    cells = consistent(noisy(counts, domain.mask, used), domain)
    np.testing.assert_allclose(cells[:, 2], cells[:, 0] + cells[:, 1])
    assert not np.allclose(cells, counts)
    left = [consistent(noisy(counts, domain.mask, used), domain) - counts for _ in range(60)]
    told = variances(domain, used)["y"]
    assert np.var(left) == pytest.approx(told, rel=5 * math.sqrt(2 / (60 * 96))), "five standard errors"
    assert told == pytest.approx(30.0**2 * 2 / 3, rel=1e-3)
