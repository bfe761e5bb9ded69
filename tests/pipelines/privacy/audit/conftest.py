"""A ledger of its own for each test, that takes code which is not committed."""

from pathlib import Path

import pytest

from pipelines.privacy.ledger.ledger import Ledger


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ledger:
    monkeypatch.setenv("FLOCKCAST_HOME", str(tmp_path))
    monkeypatch.setenv("FLOCKCAST_LEDGER_MODE", "test")
    monkeypatch.delenv("FLOCKCAST_LEDGER", raising=False)
    return Ledger.open()
