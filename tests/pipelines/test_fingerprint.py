"""Which code ran: a clean checkout and an installed package can say, changed code can't."""

import shutil
import subprocess
from pathlib import Path

import pytest

from pipelines import fingerprint
from pipelines.fingerprint import code_revision


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small checkout of the shape of ours."""
    for room in fingerprint.CODE:
        (tmp_path / room).mkdir()
        (tmp_path / room / "module.py").write_text("VALUE = 1\n")
    (tmp_path / "README.md").write_text("Read me.\n")
    (tmp_path / "data" / "counts.csv").write_text("a,b\n")
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "first"]):
        subprocess.run([*git, *words], check=True)
    monkeypatch.setattr(fingerprint, "ROOT", tmp_path)
    return tmp_path


def test_a_clean_checkout_is_its_commit(checkout: Path) -> None:
    assert len(code_revision()) == 40


@pytest.mark.parametrize("file", ["mine.csv", "data/new.csv", "notes.py", "README.md"])
def test_data_and_documents_leave_it_clean(checkout: Path, file: str) -> None:
    (checkout / file).write_text("something\n")
    assert not code_revision().endswith("+")


@pytest.mark.parametrize("file", ["pipelines/module.py", "models/new.py"])
def test_code_that_was_changed_or_added_shows(checkout: Path, file: str) -> None:
    (checkout / file).write_text("VALUE = 2\n")
    assert code_revision().endswith("+")


def test_an_installed_package_is_its_version_and_code_even_inside_somebody_s_repository(checkout: Path) -> None:
    shutil.rmtree(checkout / ".git")
    (checkout.parent / ".git").mkdir(exist_ok=True)  # an enclosing repository is not ours
    fingerprint.code_fingerprint.cache_clear()
    before = code_revision()
    assert before.startswith("flockcast ")
    assert not before.endswith("+")
    (checkout / "models" / "module.py").write_text("VALUE = 3\n")
    fingerprint.code_fingerprint.cache_clear()
    assert code_revision() != before


def test_without_git_nobody_knows(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert code_revision() == "unknown"
