"""The ledger takes no audit whose number of guesses was not fixed before the training began."""

from dataclasses import replace

import pytest

from pipelines.errors import LedgerError
from pipelines.privacy.ledger.audits import AuditDesign, AuditResult
from pipelines.privacy.ledger.ledger import Ledger
from pipelines.privacy.ledger.records import Charge, Policy
from pipelines.privacy.mechanisms import GaussianRelease

PLANNED = AuditDesign(
    run_id="run-1",
    tenant="default",
    data_set="rides",
    kind="one-run",
    unit="trip",
    canaries=1000,
    guesses=200,
    delta=1e-6,
    p=0.05,
    tries=1,
    score="loss",
    seed_hash="a" * 64,
    canaries_hash="b" * 64,
    claimed="Protects one trip: epsilon = 1",
)
FOUND = AuditResult(correct=120, lower_bound=0.14, claimed_epsilon=1.0, verdict="consistent")


def reserve(ledger: Ledger) -> None:
    policy = Policy(tenant="default", data_set="rides", unit="trip", epsilon=4.0, delta=1e-5, order=8.0)
    ledger.grant(policy, actor="owner", reason="an audit", approver="head")
    charge = Charge(
        run_id="run-1",
        tenant="default",
        data_set="rides",
        data_set_version="v1",
        sources=("c" * 64,),
        blocks=("2024-03-01",),
        unit="trip",
        relation="add or remove",
        mechanism=GaussianRelease(sensitivity=1.0, scale=8.0),
        delta=1e-6,
        config_hash="d" * 64,
        output_kind="metric",
    )
    ledger.reserve(charge)


def test_a_result_without_a_design_is_refused(ledger):
    with pytest.raises(LedgerError, match="no one-run audit of run run-1 was registered"):
        ledger.audit("run-1", "one-run", FOUND)
    assert ledger.entries(type="audit") == []


def test_a_design_after_the_run_has_begun_is_refused(ledger):
    reserve(ledger)
    ledger.start("run-1")
    with pytest.raises(LedgerError, match="has begun"):
        ledger.design_audit(PLANNED)


@pytest.mark.parametrize("change", [{"guesses": 100}, {"canaries_hash": "e" * 64}, {"delta": 1e-5}, {"p": 0.1}])
def test_a_second_design_with_other_figures_is_refused(ledger, change):
    ledger.design_audit(PLANNED)
    with pytest.raises(LedgerError, match="figures were fixed there"):
        ledger.design_audit(replace(PLANNED, **change))


def test_a_result_holds_its_design_and_the_chain_verifies(ledger):
    reserve(ledger)
    design = ledger.design_audit(PLANNED)
    ledger.start("run-1")
    ledger.commit("run-1", artifact_hash="f" * 64)
    entry = ledger.audit("run-1", "one-run", FOUND)
    assert entry.seq > design.seq
    assert entry.fields["design"] == str(design.seq)
    told = {name: entry.fields[name] for name in ("guesses", "correct", "lower_bound", "verdict", "claimed_epsilon")}
    assert told == {
        "guesses": "200",
        "correct": "120",
        "lower_bound": "0.14",
        "verdict": "consistent",
        "claimed_epsilon": "1.0",
    }
    assert ledger.verify().holds


def test_the_same_design_and_result_again_are_the_same_entries_and_another_result_is_refused(ledger):
    assert ledger.design_audit(PLANNED) == ledger.design_audit(PLANNED)
    assert ledger.audit("run-1", "one-run", FOUND) == ledger.audit("run-1", "one-run", FOUND)
    with pytest.raises(LedgerError, match="another result already"):
        ledger.audit("run-1", "one-run", replace(FOUND, correct=100, lower_bound=0.0))
    assert len(ledger.entries(type="audit")) == 2


def test_more_right_guesses_than_were_registered_are_refused(ledger):
    ledger.design_audit(PLANNED)
    with pytest.raises(LedgerError, match="201 right guesses can't be"):
        ledger.audit("run-1", "one-run", replace(FOUND, correct=201))
