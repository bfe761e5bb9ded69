"""The audit of a training: a control without privacy is refuted, and what it found is where people look for it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipelines.errors import BudgetRefused, SpecError
from pipelines.ingest import ingest_or_reuse
from pipelines.privacy.audit.report import log_audit
from pipelines.privacy.audit.train_audit import audit_control
from pipelines.privacy.ledger.records import Policy
from pipelines.registry import client
from pipelines.spec import Spec, load_spec, parse_spec

QUIET = {"say": lambda line: None}


@pytest.fixture
def spec(tmp_path: Path, ledger, monkeypatch: pytest.MonkeyPatch) -> Spec:
    """Three noisy daily waves of counts, and a network that is trained in a second."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    hours = pd.date_range("2024-03-01", periods=480, freq="h")
    noise = np.random.default_rng(7).normal(scale=3, size=(3, len(hours)))
    waves = {
        name: np.rint(50 + 10 * np.sin(hours.hour / 24 * 2 * np.pi + phase) + noise[phase])
        for phase, name in enumerate(("north", "east", "south"))
    }
    pd.DataFrame({"time": hours, **waves}).to_csv(tmp_path / "waves.csv", index=False)
    return parse_spec(
        {
            "name": "waves",
            "data": {"kind": "wide", "files": "waves.csv", "interval": "1h", "values": "counts"},
            "task": {"window": 6, "horizon": 1},
            "model": {"name": "gru", "hidden": 8, "profile": 0},
            "training": {"epochs": 2, "device": "cpu"},
        },
        folder=tmp_path,
    )


def control(spec: Spec, *, canaries: int = 40, guesses: int = 20):
    dataset, _ = ingest_or_reuse(spec, **QUIET)
    return audit_control(spec, dataset, canaries=canaries, guesses=guesses, **QUIET)


def test_the_design_is_in_the_ledger_before_the_result_and_both_say_the_same(spec, ledger):
    report = control(spec)
    design, result = ledger.entries(type="audit", run_id=report.ledger_run)
    assert (design.fields["phase"], result.fields["phase"]) == ("design", "result")
    assert result.fields["design"] == str(design.seq)
    assert result.fields["guesses"] == design.fields["guesses"] == "20"
    [outcome] = report.outcomes
    assert result.fields["lower_bound"] == repr(outcome.bound)
    assert ledger.verify().holds


def test_protected_data_are_read_by_no_control_unless_their_owner_allows_it(spec, ledger):
    policy = {"tenant": "default", "data_set": "waves", "unit": "window", "epsilon": 1.0, "delta": 1e-6, "order": 22.0}
    ledger.grant(Policy(**policy), actor="owner", reason="protected", approver="head")
    with pytest.raises(BudgetRefused, match="allows no run without privacy"):
        control(spec)
    ledger.grant(Policy(**policy, allow_nonprivate_internal=True), actor="owner", reason="a control", approver="head")
    report = control(spec)
    kinds = [entry.type for entry in ledger.entries(run_id=report.ledger_run)]
    assert kinds == ["reserve", "audit", "start", "commit", "audit"]


def test_the_audit_is_an_mlflow_run_of_its_own_that_registers_nothing_and_tags_the_version_it_speaks_of(spec):
    from pipelines import experiment

    report, store = control(spec), client()
    assert log_audit(report, spec) is None  # no version was trained by this spec
    [run] = store.search_runs([store.get_experiment_by_name("waves-audit").experiment_id])
    assert run.data.tags["audit.verdict"] == report.outcomes[0].verdict
    assert run.data.tags["audit.ledger_run"] == report.ledger_run
    assert run.data.metrics["one-run/bound"] == report.outcomes[0].bound
    assert store.search_registered_models() == []

    dataset, _ = ingest_or_reuse(spec, **QUIET)
    registered, _ = experiment.enrol(spec, dataset, experiment.train(spec, dataset, **QUIET), **QUIET)
    assert log_audit(report, spec) == registered.version
    tags = store.get_model_version("waves", registered.version).tags
    assert tags["audit.verdict"] == report.outcomes[0].verdict
    assert tags["audit.bound"] == report.tags["audit.bound"]
    assert tags["audit.claim"] == "nothing is claimed"
    other = spec.model_copy(update={"training": spec.training.model_copy(update={"epochs": 3})})
    assert log_audit(report, other) is None

    def verdict_after(found):
        log_audit(found, spec)
        return store.get_model_version("waves", registered.version).tags["audit.verdict"]

    refuted = replace(report, outcomes=(replace(report.outcomes[0], claim=-1.0),))
    assert verdict_after(refuted) == "violated"
    assert verdict_after(replace(report, kind="step")) == "violated"  # an audit of another kind clears nothing
    assert verdict_after(report) == report.outcomes[0].verdict
    assert len(store.search_model_versions("name = 'waves'")) == 1


def test_a_model_of_flows_is_refused_with_what_to_do(ledger):
    spec = load_spec("nyc-green-flows")
    dataset, _ = ingest_or_reuse(spec, **QUIET)
    with pytest.raises(SpecError, match="--kind step"):
        audit_control(spec, dataset, canaries=40, guesses=20, **QUIET)


@pytest.mark.slow
def test_the_control_on_the_paris_counts_is_refuted_above_two_and_a_half(ledger):
    """GRU of 64, 60 epochs, m 1000, r 100: else the audit is too weak to say anything of a private training."""
    spec = load_spec("paris-counts")
    spec = spec.model_copy(
        update={
            "model": spec.model.model_copy(update={"name": "gru"}),
            "training": spec.training.model_copy(update={"epochs": 60, "device": "cpu"}),
        }
    )
    report = control(spec, canaries=1000, guesses=100)
    assert report.outcomes[0].bound >= 2.5
