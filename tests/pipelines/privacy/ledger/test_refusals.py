"""Each reason to refuse, by name; each refusal is an entry, and spends nothing."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pipelines.errors import BudgetRefused, LedgerError, PolicyError
from pipelines.privacy.ledger import Charge, Ledger, Policy
from pipelines.privacy.ledger.account import Account
from pipelines.privacy.mechanisms import GaussianRelease, PrivateTraining, RandomStopping

Make = Callable[..., Charge]
LOUD = GaussianRelease(sensitivity=4.0, scale=2.0)


def refusal_of(ledger: Ledger, asked: Charge, **how: Any) -> BudgetRefused:
    with pytest.raises(BudgetRefused) as refused:
        ledger.reserve(asked, **how)
    entry = refused.value.entry
    assert entry == ledger.entries(type="refuse")[-1]
    assert entry.get("reason") == refused.value.reason == json.loads(refused.value.as_json())["reason"]
    assert asked.run_id not in Account.of(ledger.entries()).runs
    return refused.value


def broken(mechanism: PrivateTraining, **values: float) -> PrivateTraining:
    """A mechanism that its own checks would not let be made."""
    changed = replace(mechanism)
    for name, value in values.items():
        object.__setattr__(changed, name, value)
    return changed


@pytest.mark.parametrize(
    ("reason", "changed"),
    [
        ("no_policy", {"unit": "trip"}),
        ("no_policy", {"data_set": "trams", "sources": ("b" * 64,)}),
        ("unit", {"contribution_bound": None}),
        ("relation", {"relation": "replace one"}),
        ("blocks", {"blocks": ()}),
        ("blocks", {"blocks": ("2023-W01",)}),
        ("blocks", {"blocks": ("2023-02-30",)}),
        ("delta", {"delta": 0.0}),
        ("delta", {"delta": 2e-6}),
        ("data_set_version", {"data_set_version": ""}),
        ("data_set_version", {"data_set_version": "unknown"}),
        ("data_set_version", {"sources": ()}),
        ("test_rng", {"rng": "test"}),
        ("code_revision", {"code_revision": "3f1c0de+"}),
        ("code_revision", {"code_revision": "unknown"}),
        ("code_revision", {"code_revision": ""}),
        ("over_cap", {"mechanism": LOUD}),
        ("span", {"span": "2023"}),
    ],
)
def test_a_release_is_refused_with_its_reason(ledger: Ledger, charge: Make, reason: str, changed: dict) -> None:
    assert refusal_of(ledger, charge("run", **changed)).reason == reason


@pytest.mark.parametrize(
    ("reason", "changed"),
    [
        ("mechanism", {"noise_multiplier": 0.0}),
        ("mechanism", {"max_grad_norm": float("inf")}),
        ("mechanism", {"max_grad_norm": float("nan")}),
    ],
)
def test_a_training_that_protects_nobody_is_refused(
    ledger: Ledger, training: Make, reason: str, changed: dict[str, float]
) -> None:
    made = training("run").mechanism
    assert isinstance(made, PrivateTraining)
    assert refusal_of(ledger, training("run", mechanism=broken(made, **changed))).reason == reason


@pytest.mark.parametrize(
    ("reason", "changed"),
    [
        ("sampler", {"sampler": "shuffled"}),
        ("sampler", {"sampler": None}),
        ("group_size", {"stride": 1}),
        ("group_size", {"window": None}),
    ],
)
def test_a_training_that_does_other_than_it_accounts_for_is_refused(
    ledger: Ledger, training: Make, reason: str, changed: dict
) -> None:
    assert refusal_of(ledger, training("run", **changed)).reason == reason


def test_a_group_size_that_fits_the_windows_is_admitted(ledger: Ledger, training: Make) -> None:
    """A slot is in 7 windows of 7 slots at stride 1; the spec's person-day of 48 slots in 54."""
    of_slot = replace(training("x").mechanism, group_size=7, noise_multiplier=40.0, steps=5)
    ledger.reserve(training("slot", stride=1, mechanism=of_slot))
    day = {"unit": "user_day", "stride": 1, "slots_per_unit": 48}
    refused = refusal_of(ledger, training("short", **day, mechanism=replace(of_slot, group_size=53)))
    assert (refused.reason, refused.refusal["expected"]) == ("group_size", "54")
    ledger.reserve(training("few", **day, windows=20, mechanism=replace(of_slot, group_size=20)))


def test_of_tiles_a_person_day_is_in_several(ledger: Ledger, training: Make) -> None:
    tiles = replace(training("x").mechanism, sampling="tiling")
    assert (
        refusal_of(ledger, training("day", unit="user_day", mechanism=tiles, sampler="tiling")).reason == "group_size"
    )
    ledger.reserve(training("slot", mechanism=tiles, sampler="tiling"))


def test_the_windows_of_a_search_are_checked_too(ledger: Ledger, training: Make) -> None:
    search = RandomStopping(trial=training("x").mechanism, eta=1.0, gamma=0.1)
    assert refusal_of(ledger, training("run", mechanism=search, stride=1)).reason == "group_size"


def test_a_version_read_from_other_files_is_refused(ledger: Ledger, charge: Make) -> None:
    ledger.reserve(charge("first"))
    assert refusal_of(ledger, charge("second", sources=("b" * 64,))).reason == "data_set_version"
    ledger.reserve(charge("third", sources=("b" * 64,), data_set_version="v2"))


@pytest.mark.parametrize("other", [{"data_set": "wheels"}, {"tenant": "suburb"}])
def test_a_new_name_brings_no_new_budget(
    ledger: Ledger, charge: Make, policy: Callable[..., Policy], other: dict[str, str]
) -> None:
    ledger.reserve(charge("first"))
    ledger.grant(policy(**other), actor="owner", reason="as if it were new")
    refused = refusal_of(ledger, charge("second", **other, sources=("a" * 64, "c" * 64)))
    assert refused.reason == "renamed"
    assert "city/bikes" in str(refused)


def test_delta_must_be_below_one_in_the_number_of_units(
    ledger: Ledger, charge: Make, policy: Callable[..., Policy]
) -> None:
    ledger.grant(
        policy(unit="trip", delta=1e-3, units=900, order=8.0), actor="owner", reason="few trips", separately=True
    )
    assert refusal_of(ledger, charge("run", unit="trip", delta=1 / 900)).reason == "delta"
    with pytest.raises(PolicyError, match="1 / 1000 units"):
        policy(delta=1e-3, units=1000)


def test_only_spenders_spend(ledger: Ledger, charge: Make, policy: Callable[..., Policy]) -> None:
    ledger.grant(policy(unit="trip", spenders=("ann",)), actor="owner", reason="ann alone", separately=True)
    assert refusal_of(ledger, charge("run", unit="trip"), actor="bob").reason == "spender"
    ledger.reserve(charge("run", unit="trip"), actor="ann")


def test_a_budget_ends(ledger: Ledger, charge: Make, policy: Callable[..., Policy], hands: Any) -> None:
    ledger.grant(
        policy(unit="trip", valid_until=datetime(2026, 6, 1, tzinfo=UTC)),
        actor="owner",
        reason="a month",
        separately=True,
    )
    ledger.reserve(charge("in time", unit="trip"))
    hands.time += timedelta(days=40)
    assert refusal_of(ledger, charge("late", unit="trip")).reason == "expired"


def test_any_block_that_is_short_refuses_the_whole_run_and_says_what_would_fit(ledger: Ledger, charge: Make) -> None:
    for number in range(4):
        ledger.reserve(charge(f"early {number}", blocks=("2023-01-02",)))
    refused = refusal_of(ledger, charge("run"))
    assert refused.reason == "over_cap"
    assert refused.refusal["over"] == ["2023-01-02"]
    assert float(refused.refusal["shortfall"]) == pytest.approx(5 * 0.24 - 1.0570, abs=1e-3)
    offer = refused.refusal["offer"]
    assert offer["blocks"] == ["2023-01-01", "2023-01-03..2023-01-10"]
    ledger.reserve(charge("less", blocks=tuple(f"2023-01-{day:02d}" for day in (1, 3, 4, 5, 6, 7, 8, 9, 10))))
    ledger.reserve(charge("noisier", mechanism=GaussianRelease(sensitivity=4.0, scale=float(offer["scale"]))))
    assert ledger.verify().holds


def test_the_noise_that_is_offered_is_the_least(ledger: Ledger, charge: Make) -> None:
    offered = float(refusal_of(ledger, charge("run", mechanism=LOUD)).refusal["offer"]["scale"])
    less = GaussianRelease(sensitivity=4.0, scale=offered * 0.997)
    assert refusal_of(ledger, charge("less", mechanism=less)).reason == "over_cap"
    ledger.reserve(charge("that", mechanism=GaussianRelease(sensitivity=4.0, scale=offered)))


def test_the_steps_that_are_offered_are_the_most(ledger: Ledger, training: Make) -> None:
    long = PrivateTraining(noise_multiplier=2.0, sample_rate=0.02, steps=100_000, max_grad_norm=1.0)
    steps = int(refusal_of(ledger, training("run", mechanism=long)).refusal["offer"]["steps"])
    assert refusal_of(ledger, training("more", mechanism=replace(long, steps=steps + 1))).reason == "over_cap"
    ledger.reserve(training("that", mechanism=replace(long, steps=steps)))


def test_a_lowered_cap_frees_nothing(ledger: Ledger, charge: Make, policy: Callable[..., Policy]) -> None:
    ledger.reserve(charge("first"))
    ledger.grant(policy(epsilon=1.0, order=20.0), actor="owner", reason="too generous", approver="board")
    assert refusal_of(ledger, charge("second")).reason == "over_cap"
    ledger.grant(policy(epsilon=3.0), actor="owner", reason="too mean", approver="board")
    ledger.reserve(charge("third"))
    assert ledger.verify().holds


def test_a_budget_is_changed_with_an_approver_only(ledger: Ledger, policy: Callable[..., Policy]) -> None:
    for approver in (None, "owner"):
        with pytest.raises(PolicyError, match="approver"):
            ledger.grant(policy(epsilon=3.0), actor="owner", reason="more", approver=approver)
    with pytest.raises(PolicyError, match="reason"):
        ledger.grant(policy(unit="trip"), actor="owner", reason=" ")
    assert ledger.grant(policy(), actor="owner", reason="again").seq == 1


def test_a_second_unit_gets_a_budget_only_if_that_is_said(ledger: Ledger, policy: Callable[..., Policy]) -> None:
    """A person's day is in many trips: what is spent of one budget is lost to whom the other protects."""
    with pytest.raises(PolicyError, match="unit slot, user_day, and spends of one unit are not counted in the other"):
        ledger.grant(policy(unit="trip"), actor="owner", reason="trips too")
    entry = ledger.grant(policy(unit="trip"), actor="owner", reason="trips too", separately=True)
    assert entry.get("separately") is True
    ledger.grant(policy(unit="trip", epsilon=3.0), actor="owner", reason="more", approver="board")  # said once
    assert {standing.beside for standing in ledger.standing()} == {
        f"not bounded by it: what runs of unit {others} spend on the same data, counted separately"
        for others in ("slot and user_day", "slot and trip", "trip and user_day")
    }
    assert ledger.verify().holds


def test_a_span_can_not_be_renamed_for_a_fresh_budget(ledger: Ledger, policy: Callable[..., Policy]) -> None:
    ledger.grant(policy(unit="user", span="2023"), actor="owner", reason="a year", separately=True)
    with pytest.raises(PolicyError, match="fresh budget"):
        ledger.grant(policy(unit="user", span="the year 2023"), actor="owner", reason="b", approver="board")


def test_a_person_over_a_span_has_one_block(ledger: Ledger, charge: Make, policy: Callable[..., Policy]) -> None:
    ledger.grant(policy(unit="user", span="2023"), actor="owner", reason="a year", separately=True)
    assert refusal_of(ledger, charge("days", unit="user", span="2023")).reason == "blocks"
    ledger.reserve(charge("year", unit="user", span="2023", blocks=("2023",)))


def test_a_run_without_privacy_is_refused_where_a_policy_protects_the_data(
    ledger: Ledger, charge: Make, policy: Callable[..., Policy]
) -> None:
    asked = {"tenant": "city", "sources": ("a" * 64,), "config_hash": "c0ffee"}
    ledger.reserve(charge("first"))
    for name in ("bikes", "under another name"):
        with pytest.raises(BudgetRefused) as refused:
            ledger.reserve_nonprivate(run_id=f"raw {name}", data_set=name, **asked)
        assert refused.value.reason == "nonprivate"
    other = {**asked, "sources": ("d" * 64,)}
    assert ledger.reserve_nonprivate(run_id="free", data_set="trams", **other) is None
    ledger.grant(policy(data_set="trams", allow_nonprivate_internal=True), actor="owner", reason="for comparison")
    entry = ledger.reserve_nonprivate(run_id="raw", data_set="trams", **other)
    assert entry is not None
    assert entry.get("serving") == "raw_input_internal"
    ledger.start("raw")
    ledger.commit("raw", artifact_hash="a" * 64)
    assert ledger.verify().holds


def nonprivate(ledger: Ledger, data_set: str, source: str, run_id: str = "") -> Any:
    return ledger.reserve_nonprivate(
        run_id=run_id or f"raw {data_set}", tenant="city", data_set=data_set, sources=(source,), config_hash="c0ffee"
    )


@pytest.mark.parametrize("name", ["d" * 64, "D" * 64])
def test_a_file_that_a_refused_run_named_is_not_read_under_another_name(ledger: Ledger, name: str) -> None:
    """No private run has read it yet, so the refusal is all that tells whose it is."""
    with pytest.raises(BudgetRefused):
        nonprivate(ledger, "bikes", "d" * 64)
    with pytest.raises(BudgetRefused, match="were named as 'bikes' before") as refused:
        nonprivate(ledger, "bikes2", name)
    assert refused.value.reason == "nonprivate"
    assert nonprivate(ledger, "bikes2", "e" * 64, run_id="other files") is None


def test_a_file_named_with_the_wrong_data_set_is_freed_by_a_budget_of_its_own(
    ledger: Ledger, policy: Callable[..., Policy]
) -> None:
    for name in ("bikes", "trams"):
        with pytest.raises(BudgetRefused):
            nonprivate(ledger, name, "d" * 64)
    ledger.grant(policy(data_set="trams", allow_nonprivate_internal=True), actor="owner", reason="a typo, see refusals")
    assert nonprivate(ledger, "trams", "d" * 64) is not None


def test_a_file_that_was_read_is_not_freed_by_a_budget_of_another_name(
    ledger: Ledger, charge: Make, policy: Callable[..., Policy]
) -> None:
    ledger.reserve(charge("first"))
    ledger.grant(policy(data_set="wheels", allow_nonprivate_internal=True), actor="owner", reason="a way round")
    with pytest.raises(BudgetRefused, match="no run without privacy"):
        nonprivate(ledger, "wheels", "a" * 64)


def test_a_refusal_without_a_budget_binds_nothing(ledger: Ledger, charge: Make, policy: Callable[..., Policy]) -> None:
    refusal_of(ledger, charge("run", data_set="trams", sources=("d" * 64,)))
    ledger.grant(policy(data_set="trams"), actor="owner", reason="from now on")
    assert nonprivate(ledger, "trains", "d" * 64) is None


def test_a_file_read_without_privacy_is_not_charged_under_another_name(
    ledger: Ledger, charge: Make, policy: Callable[..., Policy]
) -> None:
    open_to = policy(data_set="trams", allow_nonprivate_internal=True)
    ledger.grant(open_to, actor="owner", reason="for comparison")
    nonprivate(ledger, "trams", "d" * 64)
    assert refusal_of(ledger, charge("run", sources=("D" * 64,))).reason == "renamed"


def test_a_test_ledger_takes_test_noise_but_never_passes_for_a_real_one(
    ledger: Ledger, charge: Make, own_home: Path, monkeypatch: pytest.MonkeyPatch, hands: Any
) -> None:
    monkeypatch.setenv("FLOCKCAST_LEDGER_MODE", "test")
    Ledger.open(clock=hands).reserve(charge("run", rng="test", code_revision="3f1c0de+"))
    assert Ledger.open(clock=hands).verify().holds
    monkeypatch.delenv("FLOCKCAST_LEDGER_MODE")
    flaw = ledger.verify().flaw
    assert flaw is not None
    assert "test mode" in flaw.what


def test_a_refused_run_may_be_asked_for_again_when_there_is_more(
    ledger: Ledger, charge: Make, policy: Callable[..., Policy]
) -> None:
    refusal_of(ledger, charge("run", unit="trip"))
    ledger.grant(policy(unit="trip"), actor="owner", reason="now there is one", separately=True)
    assert ledger.reserve(charge("run", unit="trip")).type == "reserve"


def test_a_refusal_of_steps_names_the_run(ledger: Ledger, training: Make) -> None:
    ledger.reserve(training("run"))
    ledger.start("run")
    with pytest.raises(BudgetRefused) as refused:
        ledger.progress("run", 500)
    assert refused.value.entry.get("run_id") == "run"


def test_a_release_announces_no_steps(ledger: Ledger, charge: Make) -> None:
    ledger.reserve(charge("counts"))
    ledger.start("counts")
    with pytest.raises(LedgerError, match="takes no steps"):
        ledger.progress("counts", 1)


@pytest.mark.parametrize("span", ["2023-01-01..2023-12-31", "2023..", "2023-Q1..2023-Q3"])
def test_a_span_that_reads_like_a_range_of_blocks_is_refused(policy: Callable[..., Policy], span: str) -> None:
    """It would unfold into blocks that no charge names, and every run would find them untouched."""
    with pytest.raises(PolicyError, match="range of blocks"):
        policy(unit="user", span=span)


def test_a_run_without_privacy_does_not_pass_under_the_id_of_another(ledger: Ledger, charge: Make) -> None:
    ledger.reserve(charge("run"))
    with pytest.raises(LedgerError, match="another id"):
        ledger.reserve_nonprivate(
            run_id="run", tenant="city", data_set="bikes", sources=("a" * 64,), config_hash="c0ffee"
        )
