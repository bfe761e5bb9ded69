"""What the command line says of a private model, and what it does not write."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pipelines.privacy.access import access_log
from pipelines.privacy.claim import Protection
from pipelines.privacy.serving import RAW

Run = Callable[..., tuple[int, str, str]]
Make = Callable[[Protection], Any]


def test_a_forecast_with_raw_counts_is_one_message_and_no_file_until_it_is_internal(
    private: Make, dp_sgd: Protection, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = private(dp_sgd)
    monkeypatch.chdir(tmp_path)
    code, _, wrong = run("forecast", str(world.spec_path))
    assert code == 1
    assert wrong.startswith(
        "error: this forecast contains today's raw counts, so it is not written to forecast.parquet"
    )
    assert not (tmp_path / "forecast.parquet").exists()
    code, told, _ = run("forecast", str(world.spec_path), "--internal")
    assert code == 0
    assert told.rstrip().endswith(RAW)
    assert pl.read_parquet_metadata(tmp_path / "forecast.parquet")["flockcast.privacy.mark"] == RAW
    assert len(access_log().read_text().splitlines()) == 2, "the refused one was computed too"


def test_models_are_listed_with_whom_they_protect_and_those_without_a_promise_with_a_dash(
    private: Make, dp_sgd: Protection, run: Run
) -> None:
    private(dp_sgd)
    code, told, _ = run("models")
    assert code == 0
    lines = [line for line in told.splitlines() if line.strip()]
    assert lines[0].split()[-1] == "privacy"
    assert lines[2].endswith("window (weak): epsilon 2.11, delta 1e-06 (PLD 1.0)")
    assert " (raw) " in lines[2], "its score is of raw counts"
    assert lines[3].split()[-1] == "-"


def test_the_card_of_the_champion_or_of_a_version_is_shown(private: Make, released: Protection, run: Run) -> None:
    world = private(released)
    assert run("models", "card", "tiny")[1].startswith(f"# Model card: tiny, version {world.registered.version}")
    assert "No privacy promise" in run("models", "card", "tiny@1")[1]
    assert run("models", "card", "tinny")[2].startswith("error: no model is called tinny")


FULL = (  # unit, epsilon, delta and accountant together, in a sentence or in a phrase
    r"(Protects|One person's data of) [^.]+: epsilon = [\d.]+, delta = \S+ \([\w ]+; [\w. -]+; [^)]+\)",
    r"[\w ]+(\(weak\))?: epsilon [\d.]+, delta \S+ \([\w. -]+\)",
)


def test_no_command_tells_an_epsilon_without_unit_delta_and_accountant(
    private: Make, released: Protection, dp_sgd: Protection, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    private(dp_sgd)
    world = private(released)
    said = [
        run(*words)
        for words in (
            ("models",),
            ("models", "card", "tiny@2"),
            ("models", "card", "tiny@3"),
            ("forecast", str(world.spec_path)),
            ("models", "promote", "tiny", "3"),
            ("models", "rollback", "tiny"),
        )
    ]
    text = "\n".join(out + err for _, out, err in said)
    assert text.count("epsilon") >= 6
    for full in FULL:
        text = re.sub(full, "", text)
    assert "epsilon" not in text.lower()
