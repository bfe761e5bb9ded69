"""The production code of a release passes its audit, and fails it where one of its steps is broken."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pipelines.privacy.audit.release_run import audit_release
from pipelines.privacy.release import counting, drawing
from pipelines.spec import Spec, parse_spec

ZONES = [f"z{i}" for i in range(10)]
CANARIES, GUESSES = 1000, 200


@pytest.fixture
def make(tmp_path: Path, ledger):
    """A spec that releases trips which nobody has: the audit reads none."""
    pl.DataFrame({"zone": ZONES}).write_csv(tmp_path / "zones.csv")
    (tmp_path / "trips.csv").write_text("rider,begin,finish,from,to\n")

    def spec(**privacy: Any) -> Spec:
        promise = {"unit": "user_day", "person": "rider", "trips_per_unit": 6, "trips_per_cell": 2, **privacy}
        data = {
            "kind": "trips",
            "files": "trips.csv",
            "interval": "1h",
            "timezone": "Europe/Oslo",
            "start": "2024-03-04",
            "end": "2024-03-18",
            "columns": {"start": "begin", "end": "finish", "source": "from", "target": "to"},
            "zones": {"file": "zones.csv", "id": "zone"},
        }
        own = {"mechanism": "release", "epsilon": 1.0, **{k: v for k, v in promise.items() if v is not None}}
        return parse_spec(
            {"name": "riders", "data": data, "task": {"window": 24, "horizon": 2}, "privacy": own}, folder=tmp_path
        )

    return spec


def audit(spec: Spec):
    report = audit_release(spec, spec.privacy, canaries=CANARIES, guesses=GUESSES, say=lambda line: None)
    noise, persons = report.outcomes
    return report, noise, persons


@pytest.mark.parametrize(
    "privacy",
    [
        {"counts": "nodes"},
        {"counts": "flows"},
        {"unit": "user_week", "epsilon": 2.0},
        {"unit": "trip", "person": None, "trips_per_unit": None, "trips_per_cell": 1, "counts": "flows"},
    ],
)
def test_a_release_as_it_is_made_is_not_refuted(make, privacy, ledger):
    _, noise, persons = audit(make(**privacy))
    # of a single trip geometric noise reaches its epsilon, and it has no seed: without the margins 1 run in 50 would
    # fail, as often as such a bound may err; they are about three standard errors
    assert persons.bound < 1.4 * persons.claim
    assert 0 < noise.bound < 1.03 * noise.claim
    kinds = [(entry.fields["kind"], entry.fields["phase"]) for entry in ledger.entries(type="audit")]
    assert kinds == [("two-world", "design"), ("two-world", "result"), ("one-run", "design"), ("one-run", "result")]
    assert ledger.entries(type="reserve") == []  # nobody's data were read


def test_a_bound_that_is_not_applied_is_caught(make, monkeypatch):
    monkeypatch.setattr(counting, "bound_contributions", lambda trips, **bounds: trips)
    report, noise, persons = audit(make())
    assert persons.verdict == "violated"
    assert noise.verdict == "consistent"
    assert report.worst is persons
    assert "Refutes the claim" in persons.sentence


def test_a_quarter_of_the_noise_is_caught(make, monkeypatch):
    right = drawing.add_discrete_gaussian
    monkeypatch.setattr(drawing, "add_discrete_gaussian", lambda counts, scale: right(counts, scale=scale / 4))
    report, noise, persons = audit(make(noise="gaussian"))
    assert noise.verdict == "violated"
    assert persons.bound > 0.5
    assert report.is_violated


def test_half_of_the_sensitivity_that_a_unit_has_is_no_sensitivity(make, monkeypatch):
    """The domain says that of nodes a trip is in two cells; forgetting it shows in the persons alone."""
    from pipelines.privacy.release import domain

    right = domain.of_trips
    monkeypatch.setattr(domain, "of_trips", lambda per_unit, per_cell, kinds: right(per_unit=1, per_cell=1))
    _, noise, persons = audit(make(counts="nodes", noise="gaussian", trips_per_unit=18))
    assert noise.verdict == "consistent"
    assert persons.verdict == "violated"


def test_counts_without_persons_have_their_noise_audited_alone(tmp_path, ledger):
    """The file is empty but for its header: nothing of it is read."""
    (tmp_path / "counts.csv").write_text("time,north,south\n")
    spec = parse_spec(
        {
            "name": "present",
            "data": {
                "kind": "wide",
                "files": "counts.csv",
                "interval": "1h",
                "values": "counts",
                "start": "2024-03-04",
                "end": "2024-03-06",
                "columns": {"values": ["north", "south"]},
            },
            "task": {"window": 6, "horizon": 1},
            "privacy": {"mechanism": "release", "unit": "user_day", "epsilon": 1.0, "one_place_per_step": True},
        },
        folder=tmp_path,
    )
    report = audit_release(spec, spec.privacy, canaries=CANARIES, guesses=GUESSES, say=lambda line: None)
    [noise] = report.outcomes
    assert noise.verdict == "consistent"
