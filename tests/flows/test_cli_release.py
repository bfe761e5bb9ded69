"""A private release on the command line: asked for its price, refused without a budget, granted, drawn once."""

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FLOCKCAST_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FLOCKCAST_LEDGER_MODE", "test")
    return tmp_path / "home"


def test_the_price_the_refusal_the_command_that_it_prints_and_the_release(run: Run, home: Path) -> None:
    code, told, _ = run("check", "paris-private")
    assert code == 0
    assert "20,736 cells of 73 periods" in told
    assert "Protects one person's data of one day: epsilon = 1, delta = 1e-06" in told
    assert "standard deviation 41.4 in y" in told
    assert not (home / "datasets").exists()

    code, _, refusal = run("ingest", "paris-private")
    assert code == 1
    command = re.search(r"flockcast (budget grant .*)", refusal)
    assert command is not None
    assert command[1] in told
    code, _, wrong = run(*shlex.split(command[1]))
    assert (code, wrong) == (0, "")

    assert "admits it" in run("check", "paris-private")[1]
    code, told, _ = run("ingest", "paris-private")
    assert code == 0
    assert "released 73 periods" in told
    assert "3,456" not in told, "the number of rows"
    assert "nothing is spent" in run("ingest", "paris-private")[1]
    code, told, _ = run("check", "paris-private")
    assert "the noise has a standard deviation of 41.4 in y" in told
    assert run("ingest", "paris-private", "--fresh")[0] == 2
    assert run("budget", "show", "paris-private")[1].count("2020-08-24..2020-11-04") == 1
