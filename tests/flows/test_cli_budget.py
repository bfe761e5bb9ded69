"""The ledger as a person meets it: budgets in tables, refusals and mistakes in one message, exit codes to rely on."""

import csv
import json
import re
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from pipelines.errors import BudgetRefused
from pipelines.privacy.ledger import Charge, Ledger
from pipelines.privacy.mechanisms import GaussianRelease, PrivateTraining

Run = Callable[..., tuple[int, str, str]]
DAYS = tuple(f"2023-01-{day:02d}" for day in range(1, 11))
GRANT = ("grant", "bikes", "--unit", "user_day", "--epsilon", "2", "--reason", "releases of 2023", "--actor", "ann")


@pytest.fixture
def run(run: Run) -> Run:
    return partial(run, "budget")


@pytest.fixture(autouse=True)
def own_home(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """For the ledger; a registry of its own would take ten seconds to set up."""
    monkeypatch.setenv("FLOCKCAST_HOME", str(tmp_path))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{home}/mlflow.db")
    for name in ("FLOCKCAST_LEDGER", "FLOCKCAST_LEDGER_MODE"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def charge(run_id: str, **changed: Any) -> Charge:
    given = {
        "tenant": "default",
        "data_set": "bikes",
        "data_set_version": "v1",
        "sources": ("a" * 64,),
        "blocks": DAYS,
        "unit": "user_day",
        "relation": "add or remove",
        "mechanism": GaussianRelease(sensitivity=4.0, scale=20.0),
        "delta": 1e-6,
        "config_hash": "c0ffee",
        "code_revision": "3f1c0de",
        "contribution_bound": {"trips": "16"},
        "output_kind": "counts",
    }
    return Charge(run_id=run_id, **{**given, **changed})


@pytest.fixture
def used(run: Run) -> Ledger:
    """One release committed, one reserved, a private training that stopped early, and a refusal."""
    assert run(*GRANT)[0] == 0
    assert run("grant", "bikes", "--unit", "slot", "--epsilon", "4", "--reason", "training", "--separately")[0] == 0
    ledger = Ledger.open()
    ledger.reserve(charge("release-1"))
    ledger.start("release-1")
    ledger.commit("release-1", artifact_hash="1" * 64)
    ledger.reserve(charge("release-2", blocks=DAYS[:3]))
    training = PrivateTraining(noise_multiplier=4.0, sample_rate=0.05, steps=400, max_grad_norm=0.1)
    asked = {"unit": "slot", "relation": "zero out", "mechanism": training, "window": 7, "stride": 7}
    asked |= {"sampler": "poisson"}
    ledger.reserve(charge("training-1", **asked, contribution_bound=None, output_kind="weights"))
    ledger.start("training-1")
    ledger.progress("training-1", 200)
    ledger.commit("training-1", steps=150, artifact_hash="2" * 64, model_version="tiny/3")
    with pytest.raises(BudgetRefused):
        ledger.reserve(charge("release-3", mechanism=GaussianRelease(sensitivity=4.0, scale=2.0)))
    return ledger


def no_bare_epsilon(told: str) -> None:
    """Wherever an epsilon is shown, unit, delta and accountant are in sight."""
    for part in told.split("\n\n\n"):
        if "epsilon" in part:
            assert "delta" in part
            assert re.search(r"accountant|flockcast-pld", part)


def test_a_grant_says_what_it_promises_and_what_it_has_room_for(run: Run) -> None:
    code, told, _ = run(*GRANT)
    assert code == 0
    assert "Protects one person's data of one day: epsilon at most 2, delta = 1e-06" in told
    assert "order 12" in told  # the best
    scale = float(re.search(r"noise of ([\d.]+) for each 1", told).group(1))
    ledger = Ledger.open()
    ledger.reserve(charge("fits", mechanism=GaussianRelease(sensitivity=4.0, scale=4 * scale)))
    no_bare_epsilon(told)


def test_a_bigger_budget_needs_somebody_who_agrees(run: Run) -> None:
    run(*GRANT)
    more = ["3" if word == "2" else word for word in GRANT]
    code, _, said = run(*more)
    assert code == 2
    assert "approver" in said
    code, told, _ = run(*more, "--approver", "board")
    assert code == 0
    assert "approved by board" in told


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--epsilon", "-1"), "above 0"),
        (("--epsilon", "nan"), "above 0"),
        (("--unit", "user"), "over what time"),
        (("--span", "2023"), "no span"),
        (("--delta", "0.1", "--units", "100"), "1 / 100 units"),
        (("--delta", "2"), "between 0 and 1"),
        (("--order", "1.01"), "nothing can be spent"),
        (("--reason", " "), "needs a reason"),
        (("--unit", "person"), "person"),
    ],
)
def test_a_budget_that_makes_no_sense_is_exit_code_2(run: Run, words: tuple[str, ...], said: str) -> None:
    code, _, told = run(*GRANT, *words)
    assert code == 2
    assert said in told


def test_the_delta_suits_the_number_of_units(run: Run) -> None:
    _, told, _ = run(*GRANT, "--units", "1000000")
    assert "delta = 1e-07" in told


def test_show_folds_days_that_the_same_runs_read(run: Run, used: Ledger) -> None:
    code, told, _ = run("show", "bikes")
    assert code == 0
    rows = re.findall(r"^ +(2023\S+) +(\S+) +(\S+) +(\S+) +(\d+) % +(\S.*)$", told, flags=re.MULTILINE)
    assert ("2023-01-01..2023-01-03", "2", "0.835", "1.22", "54", "release-1, release-2") in rows
    assert ("2023-01-04..2023-01-10", "2", "0.835", "0.835", "77", "release-1") in rows
    no_bare_epsilon(told)


def test_show_takes_a_range_of_days(run: Run, used: Ledger) -> None:
    _, told, _ = run("show", "bikes", "--blocks", "2023-01-02..2023-01-02")
    assert "2023-01-02 " in told
    assert "2023-01-04" not in told
    _, told, _ = run("show", "bikes", "--blocks", "2023-01-09..")
    assert "2023-01-09..2023-01-10" in told


def test_show_without_budgets_says_how_to_get_one_and_an_unknown_data_set_is_a_mistake(run: Run) -> None:
    code, told, _ = run("show")
    assert code == 0
    assert "budget grant" in told
    assert run("show", "nothing")[0] == 2


@pytest.mark.parametrize("name", ["training-1", "tiny", "tiny/3", "2" * 64])
def test_explain_says_what_a_model_cost_and_why(run: Run, used: Ledger, name: str) -> None:
    code, told, _ = run("explain", name)
    assert code == 0
    assert "Protects all that happens in one time slot" in told
    assert "200 steps of training drew samples at random with chance 0.05" in told
    assert "400 reserved, 200 announced, 200 charged" in told
    assert re.search(r"2023-01-01\.\.2023-01-10 +0.771 +4", told)
    no_bare_epsilon(told)


def test_explain_goes_by_the_registry_s_tags(run: Run, used: Ledger) -> None:
    from pipelines.registry import client

    store = client()
    store.create_registered_model("registered")
    store.create_model_version("registered", "file:///nowhere", tags={"privacy.ledger_run": "release-1"})
    assert "run release-1: committed" in run("explain", "registered")[1]
    assert "run release-1: committed" in run("explain", "registered/1")[1]
    assert run("explain", "registered/2")[0] == 1
    assert run("explain", "nobody's model")[0] == 1


def test_a_ledger_that_does_not_verify_is_not_shown_without_a_word(run: Run, used: Ledger, own_home: Path) -> None:
    assert run("show", "bikes")[0] == 0
    (own_home / "ledger.db").unlink()
    code, told, wrong = run("show")
    assert code == 1
    assert "does not verify" in told + wrong


def test_verify_is_exit_code_1_when_a_row_was_edited(run: Run, used: Ledger, own_home: Path) -> None:
    code, told, _ = run("verify")
    assert code == 0
    assert "verifies" in told
    with closing(sqlite3.connect(own_home / "ledger.db")) as database:
        database.execute("DROP TRIGGER ledger_no_update")
        database.execute("UPDATE ledger_entries SET body = replace(body, '20.0', '99.0') WHERE run_id = 'release-1'")
        database.commit()
    seq = used.entries(run_id="release-1")[0].seq
    code, _, said = run("verify")
    assert code == 1
    assert f"entry {seq}" in said


def test_the_json_can_be_checked_without_us(run: Run, used: Ledger, tmp_path: Path) -> None:
    import hashlib

    code, _, _ = run("export", "--output", str(tmp_path / "ledger.json"))
    assert code == 0
    told = json.loads((tmp_path / "ledger.json").read_text())
    head = "0" * 64
    for entry in told["entries"]:
        assert hashlib.sha256(entry["body"].encode()).hexdigest() == entry["hash"]
        assert json.loads(entry["body"])["prev_hash"] == head
        head = entry["hash"]
    assert told["verification"]["head"] == head
    assert json.loads(told["entries"][-1]["body"])["type"] == "anchor"
    assert told["verification"]["holds"]


def test_the_csv_has_a_row_an_entry_and_nothing_that_a_spreadsheet_would_run(run: Run, used: Ledger) -> None:
    run("grant", "trams", "--unit", "trip", "--epsilon", "1", "--reason", "=1+1")
    _, told, _ = run("export", "--format", "csv")
    rows = list(csv.DictReader(told.splitlines()))
    assert [int(row["seq"]) for row in rows] == [entry.seq for entry in used.entries()]
    assert "'=1+1" in {row["reason"] for row in rows}


def test_the_page_asks_nothing_of_the_network_and_shows_what_an_auditor_looks_for(
    run: Run, used: Ledger, tmp_path: Path
) -> None:
    run("grant", "trams", "--unit", "trip", "--epsilon", "1", "--reason", "<script>alert(1)</script>")
    assert run("export", "--format", "html", "--output", str(tmp_path / "page.html"))[0] == 0
    text = (tmp_path / "page.html").read_text()
    assert not re.search(r"""(?:src|href)=["'](?!data:|#)""", text)
    assert "@import" not in text
    assert "<script" not in text
    for shown in ("release-1", "over_cap", "2023-01-04..2023-01-10", "signed", used.verify().head):
        assert shown in text
    assert text.count('class="spent" width=') == 3  # a bar a row


@pytest.mark.browser
def test_the_page_fits_a_phone_and_draws_what_is_spent(run: Run, used: Ledger, tmp_path: Path) -> None:
    from playwright.sync_api import sync_playwright

    found = shutil.which("chromium") or shutil.which("google-chrome")
    if not found:
        pytest.skip("no chromium or google-chrome on the path")
    run("export", "--format", "html", "--output", str(tmp_path / "page.html"))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 390, "height": 800})
        page.goto((tmp_path / "page.html").as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        page.set_viewport_size({"width": 1200, "height": 900})
        bar = page.locator("svg.budget").nth(1)
        whole, spent = (bar.locator(f".{part}").bounding_box()["width"] for part in ("whole", "spent"))
        assert spent / whole == pytest.approx(0.24 / 1.057, abs=0.02)
        browser.close()


def test_a_broken_book_is_exported_as_such_and_not_anchored(run: Run, used: Ledger, own_home: Path) -> None:
    with closing(sqlite3.connect(own_home / "ledger.db")) as database:
        database.execute("DROP TRIGGER ledger_no_update")
        database.execute("UPDATE ledger_entries SET body = replace(body, '20.0', '99.0') WHERE run_id = 'release-1'")
        database.commit()
    count = len(used.entries())
    assert "does not verify" in run("export", "--format", "html")[1]
    assert not json.loads(run("export")[1])["verification"]["holds"]
    assert len(used.entries()) == count


def test_runs_that_are_left_over_are_settled(run: Run, used: Ledger) -> None:
    assert "no run is left over" in run("reap")[1]
    host = used.entries(run_id="release-2")[0].fields["owner"]["host"]
    code, told, _ = run("reap", "--gone", host)
    assert code == 0
    assert "release-2: given back" in told


def test_a_clock_that_is_right_is_left_alone(run: Run, used: Ledger) -> None:
    code, _, said = run("correct-clock", "--reason", "a flat battery", "--approver", "board")
    assert code == 1
    assert "nothing to correct" in said


def test_help_teaches_what_a_budget_is(run: Run) -> None:
    _, told, _ = run("grant", "--help")
    for word in ("user_day", "73 %", "approver", "Epsilon", "Delta"):
        assert word in told


def test_a_database_that_is_none_is_exit_code_2(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for url in ("mysql://x/y", "nonsense", "sqlite://"):
        monkeypatch.setenv("FLOCKCAST_LEDGER", url)
        code, _, said = run("show")
        assert code == 2, url
        assert "sqlite" in said


def test_a_correction_shows_in_what_a_run_is_said_to_cost(run: Run, used: Ledger) -> None:
    before = run("explain", "release-1")[1]
    used.correct("release-1", GaussianRelease(sensitivity=4.0, scale=10.0), actor="keeper", reason="noise was halved")
    after = run("explain", "release-1")[1]
    said = [float(re.search(r"epsilon = ([0-9.]+)", text).group(1)) for text in (before, after)]
    assert said[1] > 2 * said[0]


def test_runs_without_privacy_are_shown_beside_the_budget_that_does_not_bound_them(run: Run) -> None:
    assert run(*GRANT, "--allow-nonprivate-internal")[0] == 0
    Ledger.open().reserve_nonprivate(
        run_id="Plain-1", tenant="default", data_set="bikes", sources=("a" * 64,), config_hash="c0ffee"
    )
    for told in (run("show", "bikes")[1], run("export", "--format", "html")[1]):
        assert re.search(
            r"[Nn]ot bounded by it: what runs without privacy made \(1\), inside the house \(Plain-1\)", told
        )


def test_blocks_without_a_spend_are_not_taken_for_all_blocks(run: Run, used: Ledger) -> None:
    told = run("show", "bikes", "--blocks", "2024-01-01..")[1]
    assert "of others there is" in told
    assert "every block has all of it" not in told


def test_a_large_delta_needs_the_number_of_units(run: Run) -> None:
    code, _, said = run("grant", "trams", "--unit", "trip", "--epsilon", "1", "--reason", "a test", "--delta", "0.01")
    assert code == 2
    assert "--units" in said


def test_days_that_there_are_not_and_folders_that_there_are_not_are_told(run: Run, used: Ledger) -> None:
    code, _, told = run("show", "bikes", "--blocks", "2023-13-45")
    assert (code, "names no days" in told) == (2, True)
    code, _, told = run("export", "--output", "nowhere/ledger.json")
    assert (code, "no folder nowhere" in told) == (2, True)


def test_lost_copies_are_exit_code_1_unless_that_is_said(run: Run, used: Ledger, own_home: Path) -> None:
    next((own_home / "anchors").iterdir()).unlink()
    code, _, told = run("verify")
    assert (code, "--without-anchors" in told) == (1, True)
    assert run("verify", "--without-anchors")[0] == 0


def test_a_second_unit_is_granted_only_separately_and_the_export_says_so(run: Run, used: Ledger) -> None:
    more = ("grant", "bikes", "--unit", "trip", "--epsilon", "1", "--reason", "trips too")
    code, _, told = run(*more)
    assert (code, "--separately" in told) == (2, True)
    code, told, _ = run(*more, "--separately")
    assert code == 0
    assert "counted separately" in told
    assert "counted separately" in json.loads(run("export")[1])["standings"][0]["beside"]
