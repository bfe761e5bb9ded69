"""Membership figures of a real training: an overfitted network gives its windows away, one that saw little does not."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipelines.errors import BudgetRefused
from pipelines.ingest import ingest_or_reuse
from pipelines.privacy.audit.membership_run import audit_membership
from pipelines.privacy.ledger.records import Policy
from pipelines.spec import Spec, parse_spec

QUIET = {"say": lambda line: None}


def noise_of(folder: Path, *, epochs: int, hidden: int) -> Spec:
    """Pure noise: whatever is learned of it was memorised."""
    hours = pd.date_range("2024-03-01", periods=400, freq="h")
    values = np.random.default_rng(3).normal(size=(len(hours), 2))
    pd.DataFrame({"time": hours, "a": values[:, 0], "b": values[:, 1]}).to_csv(folder / "noise.csv", index=False)
    return parse_spec(
        {
            "name": "noise",
            "data": {"kind": "wide", "files": "noise.csv", "interval": "1h"},
            "task": {"window": 4, "horizon": 1},
            "model": {"name": "gru", "hidden": hidden, "profile": 0},
            "training": {"epochs": epochs, "batch_size": 16, "learning_rate": 0.01, "device": "cpu"},
        },
        folder=folder,
    )


@pytest.mark.parametrize(("epochs", "hidden", "lowest", "highest"), [(20, 32, 0.7, 1.0), (1, 2, 0.3, 0.7)])
def test_memorised_windows_are_found_and_others_are_not(tmp_path, ledger, epochs, hidden, lowest, highest):
    """About 85 windows: the standard error of an AUC of one half is 0.06."""
    spec = noise_of(tmp_path, epochs=epochs, hidden=hidden)
    dataset, _ = ingest_or_reuse(spec, **QUIET)
    report = audit_membership(spec, dataset, references=4, seed=1, **QUIET)
    assert [risk.attack for risk in report.risks] == ["lira", "rmia"]
    for risk in report.risks:
        assert lowest <= risk.auc <= highest
    assert not report.is_violated
    assert "Figures of risk, not bounds" in report.table
    assert report.tags["audit.lira_auc"] == f"{report.risks[0].auc:.4f}"
    assert "audit.bound" not in report.tags


def test_protected_data_are_not_attacked_without_leave(tmp_path, ledger):
    spec = noise_of(tmp_path, epochs=1, hidden=2)
    policy = Policy(tenant="default", data_set="noise", unit="window", epsilon=1.0, delta=1e-6, order=22.0)
    dataset, _ = ingest_or_reuse(spec, **QUIET)  # which would be refused, too, once the data are protected
    ledger.grant(policy, actor="owner", reason="protected", approver="head")
    with pytest.raises(BudgetRefused):
        audit_membership(spec, dataset, references=4, **QUIET)
