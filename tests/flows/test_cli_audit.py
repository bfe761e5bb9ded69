"""`flockcast audit`: a table, one correct sentence, exit code 1 where a claim is refuted; and by the clock."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest

ZONES = [f"z{i}" for i in range(12)]
RELEASE = """
name = "riders"

[data]
kind = "trips"
files = "trips.csv"
interval = "1h"
start = 2024-03-04
end = 2024-03-18
columns = { start = "begin", end = "finish", source = "from", target = "to" }
zones = { file = "zones.csv", id = "zone" }

[task]
window = 6
horizon = 1

[privacy]
mechanism = "release"
unit = "user_day"
epsilon = 1.0
person = "rider"
trips_per_unit = 6
noise = "gaussian"
"""


@pytest.fixture
def release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A release of trips that the audit never reads, in a home of its own."""
    for name in ("MLFLOW_TRACKING_URI", "FLOCKCAST_LEDGER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("FLOCKCAST_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FLOCKCAST_LEDGER_MODE", "test")
    pl.DataFrame({"zone": ZONES}).write_csv(tmp_path / "zones.csv")
    (tmp_path / "trips.csv").write_text("rider,begin,finish,from,to\n")
    (tmp_path / "riders.toml").write_text(RELEASE)
    return str(tmp_path / "riders.toml")


def test_an_audit_that_refutes_nothing_says_so_and_ends_well(run, release):
    code, out, _ = run("audit", release, "--canaries", "600")
    assert code == 0
    assert "two-world" in out
    assert "one-run" in out
    assert out.count("Does not refute the claim of epsilon 1 (of one person's day, delta = 1e-06)") == 2
    assert out.count("holds with 95 % confidence (with the 2 bounds of this audit together)") == 2
    assert "tagged: no version: none was trained by this very spec" in out


def test_a_refuted_claim_is_exit_code_one_and_says_what_not_to_do(run, release, monkeypatch):
    from pipelines.privacy.release import counting

    monkeypatch.setattr(counting, "bound_contributions", lambda trips, **bounds: trips)
    code, out, told = run("audit", release, "--canaries", "600")
    assert code == 1
    assert "violated" in out
    assert "error: Refutes the claim of epsilon 1" in told
    assert "Do not release or train with this code" in told


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nyc-green", "--kind", "release"], "the spec releases no counts"),
        (["nyc-green", "--kind", "step"], "the spec has no private step"),
        (["uci-links"], "tasks on graphs of edges have no privacy"),
        (["absent"], "there is no spec at absent"),
        (["nyc-green", "--cron", "monthly"], "is no cron line"),
    ],
)
def test_an_audit_that_does_not_fit_is_one_line(run, release, words, said):
    code, _, told = run("audit", *words)
    assert code == 2
    assert said in told


@pytest.mark.parametrize("kind", ["one-run", "membership"])
def test_training_on_a_release_is_not_what_to_audit(run, release, kind):
    code, _, told = run("audit", release, "--kind", kind)
    assert code == 2
    assert "trains on a release, which costs nothing" in told


def test_the_help_says_what_a_bound_is_worth(run):
    code, out, _ = run("audit", "--help")
    assert code == 0
    words = " ".join(out.replace("│", " ").split())
    assert "Too few prove nothing" in words
    assert "charged like one" in words


@pytest.mark.server
def test_the_flow_fails_where_a_claim_is_refuted_and_can_be_scheduled(server, release, monkeypatch, ask: Any):
    from flows.audit import audit
    from flows.schedule import schedule, scheduled, unschedule
    from pipelines.errors import AuditViolated
    from pipelines.privacy.release import counting

    told = audit(release, canaries=600)
    assert told["verdicts"] == ["consistent", "consistent"]
    monkeypatch.setattr(counting, "bound_contributions", lambda trips, **bounds: trips)
    with pytest.raises(AuditViolated, match="Refutes the claim"):
        audit(release, canaries=600)
    states = [run["state"]["type"] for run in ask("flow_runs", flows={"name": {"any_": ["audit"]}})]
    assert sorted(states) == ["COMPLETED", "FAILED"]

    assert schedule(release, "0 4 1 * *", "UTC", name="riders-audit", flow=audit, kind="auto").startswith("riders-aud")
    [row] = [row for row in scheduled() if row.name == "riders-audit"]
    assert (row.spec, row.cron) == (release, "0 4 1 * *")
    unschedule("riders-audit")
    assert "riders-audit" not in [row.name for row in scheduled()]
