"""What the privacy ledger costs a run, and an auditor, when it is full.

    .venv/bin/python benchmarks/ledger.py
    .venv/bin/python benchmarks/ledger.py --distinct --runs 50

Runs of private training follow one another, each on the last 165 of 365 days, all with the same mechanism or each with
its own. Prints CPU seconds of the first and the last run (reserve, start, progress, commit); then of another run, of
`verify` and of `show`, each in a process of its own that has not seen the ledger before.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

from pipelines.privacy.ledger import Charge, Ledger, Policy
from pipelines.privacy.ledger.tell import standing_text
from pipelines.privacy.mechanisms import PrivateTraining

DAYS, WINDOW, STEPS = 365, 165, 400


def days(first: int) -> tuple[str, ...]:
    return tuple((date(2023, 1, 1) + timedelta(days=first + day)).isoformat() for day in range(WINDOW))


def charge(number: int, runs: int, *, distinct: bool) -> Charge:
    own = number if distinct else 0
    mechanism = PrivateTraining(
        noise_multiplier=40 + 0.13 * own, sample_rate=0.05 + 0.0003 * own, steps=STEPS + own, max_grad_norm=1.0
    )
    return Charge(
        run_id=f"run-{number}",
        tenant="city",
        data_set="bikes",
        data_set_version="v1",
        sources=("a" * 64,),
        blocks=days(number * (DAYS - WINDOW) // max(runs - 1, 1)),
        unit="slot",
        relation="zero out",
        mechanism=mechanism,
        delta=1e-6,
        config_hash="c0ffee",
        code_revision="3f1c0de",
        window=7,
        stride=7,
        sampler="poisson",
    )


def whole_run(ledger: Ledger, asked: Charge) -> None:
    ledger.reserve(asked)
    ledger.start(asked.run_id)
    ledger.progress(asked.run_id, STEPS // 2)
    ledger.commit(asked.run_id, steps=STEPS // 2, artifact_hash="b" * 64)


def cpu(act: Callable[[], object]) -> float:
    began = time.process_time()
    act()
    return time.process_time() - began


def act(what: str, *, runs: int, distinct: bool) -> Callable[[], object]:
    ledger = Ledger.open()
    if what == "run":
        return lambda: whole_run(ledger, charge(runs, runs + 1, distinct=distinct))
    return ledger.verify if what == "verify" else lambda: standing_text(ledger.standing())


def fill(runs: int, *, distinct: bool) -> None:
    ledger = Ledger.open()
    policy = Policy(tenant="city", data_set="bikes", unit="slot", epsilon=8.0, delta=1e-6, order=6.0)
    ledger.grant(policy, actor="owner", reason="a benchmark")
    asked = [charge(number, runs + 1, distinct=distinct) for number in range(runs)]
    seconds = [cpu(lambda each=each: whole_run(ledger, each)) for each in asked]
    print(f"run: first {seconds[0]:.2f} s, last {seconds[-1]:.2f} s, most {max(seconds):.2f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--distinct", action="store_true", help="a mechanism of its own for each run")
    parser.add_argument("--only", choices=["run", "verify", "show"], help="of the ledger in FLOCKCAST_HOME")
    given = parser.parse_args()
    if given.only:
        seconds = cpu(act(given.only, runs=given.runs, distinct=given.distinct))
        print(f"{given.only}, new process: {seconds:.2f} s")
        return
    with tempfile.TemporaryDirectory() as folder:
        os.environ["FLOCKCAST_HOME"] = folder
        fill(given.runs, distinct=given.distinct)
        print(f"{(Path(folder) / 'ledger.db').stat().st_size / 1e6:.1f} MB", flush=True)
        for what in ("run", "verify", "show"):
            subprocess.run([sys.executable, __file__, *sys.argv[1:], "--only", what], check=True)


if __name__ == "__main__":
    main()
