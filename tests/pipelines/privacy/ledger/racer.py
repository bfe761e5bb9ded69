"""A process that races for the last of a budget: one line in is one data set, one line out what became of it."""

import sys

from pipelines.errors import BudgetRefused
from pipelines.privacy.ledger import Charge, Ledger
from pipelines.privacy.mechanisms import GaussianRelease


def race(ledger: Ledger, data_set: str, name: str) -> str:
    asked = Charge(
        run_id=f"{data_set} {name}",
        tenant="city",
        data_set=data_set,
        data_set_version="v1",
        sources=(data_set,),
        blocks=("2023-01-01", "2023-01-02"),
        unit="trip",
        relation="add or remove",
        mechanism=GaussianRelease(sensitivity=4.0, scale=20.0),
        delta=1e-6,
        config_hash="c0ffee",
        code_revision="3f1c0de",
        output_kind="counts",
    )
    try:
        return f"admitted {ledger.reserve(asked).seq}"
    except BudgetRefused as refused:
        return f"{refused.reason} {refused.entry.seq if refused.entry else '-'}"


if __name__ == "__main__":
    ledger = Ledger.open()
    print("ready", flush=True)
    for line in sys.stdin:
        print(race(ledger, line.strip(), sys.argv[1]), flush=True)
