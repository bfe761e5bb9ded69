import re
from pathlib import Path

import pytest

from pipelines.errors import BudgetRefused
from pipelines.privacy.ledger.ledger import Ledger
from pipelines.privacy.ledger.records import Charge, Policy
from pipelines.privacy.mechanisms import GaussianRelease, GeometricRelease, Mechanism, PrivateTraining
from pipelines.privacy.remedy import reserve
from pipelines.privacy.renyi import best_order

TRAINING = PrivateTraining(noise_multiplier=3.4, sample_rate=0.0905, steps=55, max_grad_norm=0.1, group_size=7)
MECHANISMS: list[Mechanism] = [GaussianRelease(9.8, 41.4), GeometricRelease(2, 2.0), TRAINING]


def charge(mechanism: Mechanism, run_id: str) -> Charge:
    is_training = isinstance(mechanism, PrivateTraining)
    return Charge(
        run_id=run_id,
        tenant="default",
        data_set="bikes",
        data_set_version="1",
        sources=("ab" * 32,),
        blocks=("2023-01-01", "2023-01-02"),
        unit="slot" if is_training else "trip",
        relation="zero out" if is_training else "add or remove",
        mechanism=mechanism,
        delta=1e-6,
        config_hash="c",
        window=7 if is_training else None,
        stride=1 if is_training else None,
        windows=1000 if is_training else None,
        sampler="poisson" if is_training else None,
        output_kind="weights" if is_training else "counts",
    )


@pytest.mark.parametrize("mechanism", MECHANISMS, ids=lambda mechanism: mechanism.kind)
def test_the_budget_that_a_refusal_names_admits_the_run_once(mechanism: Mechanism, tmp_path: Path) -> None:
    ledger = Ledger.open(f"sqlite:///{tmp_path}/ledger.db")
    with pytest.raises(BudgetRefused) as refused:
        reserve(ledger, charge(mechanism, "first"))
    granted = re.search(r"--epsilon (\S+) --delta (\S+)(?: --order (\S+))?", str(refused.value))
    assert granted is not None
    epsilon, delta, order = granted.groups()
    usual = best_order(epsilon=float(epsilon), delta=float(delta))
    policy = Policy(
        tenant="default",
        data_set="bikes",
        unit=charge(mechanism, "").unit,
        epsilon=float(epsilon),
        delta=float(delta),
        order=float(order) if order else usual,
    )
    ledger.grant(policy, actor="a", reason="r")
    reserve(ledger, charge(mechanism, "second"))
    with pytest.raises(BudgetRefused) as again:
        reserve(ledger, charge(mechanism, "third"))
    assert again.value.reason == "over_cap"


def test_a_budget_that_never_admits_a_run_is_told_with_one_that_does(tmp_path: Path) -> None:
    """The usual order suits Gaussian noise; of geometric noise it takes for more than it costs."""
    ledger = Ledger.open(f"sqlite:///{tmp_path}/ledger.db")
    mechanism = GeometricRelease(2, 2.0)
    usual = best_order(epsilon=1.08, delta=1e-6)
    policy = Policy(tenant="default", data_set="bikes", unit="trip", epsilon=1.08, delta=1e-6, order=usual)
    ledger.grant(policy, actor="a", reason="r")
    with pytest.raises(BudgetRefused, match="Not even an untouched block admits it.*\n.*--order 1024") as refused:
        reserve(ledger, charge(mechanism, "first"))
    assert refused.value.reason == "over_cap"
