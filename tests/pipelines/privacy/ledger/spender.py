"""Runs that will be killed: one line in is one run, in a child that says where it is.

The mother has everything imported, so that a child is at work at once. A child writes each step to a file of its own
before it takes it; that file is the truth that the ledger is held against.
"""

import os
import sys
import time
from pathlib import Path

from pipelines.privacy.ledger import Charge, Ledger
from pipelines.privacy.mechanisms import PrivateTraining

STEPS, ANNOUNCED, SECONDS = 60, 10, 0.002


def say(word: str) -> None:
    os.write(1, f"{word}\n".encode())


def spend(run_id: str, truth: Path) -> None:
    ledger = Ledger.open()
    say("reserving")
    ledger.reserve(
        Charge(
            run_id=run_id,
            tenant="city",
            data_set="bikes",
            data_set_version="v1",
            sources=("a" * 64,),
            blocks=("2023-01-01", "2023-01-02"),
            unit="slot",
            relation="zero out",
            mechanism=PrivateTraining(noise_multiplier=8.0, sample_rate=0.01, steps=STEPS, max_grad_norm=1.0),
            delta=1e-6,
            config_hash="c0ffee",
            code_revision="3f1c0de",
            window=7,
            stride=7,
            sampler="poisson",
        )
    )
    say("reserved")
    ledger.start(run_id)
    say("started")
    for step in range(STEPS):
        if step % ANNOUNCED == 0:
            say("announcing")
            ledger.progress(run_id, step + ANNOUNCED)
        truth.write_text(str(step + 1))
        time.sleep(SECONDS)
        if step == STEPS // 2:
            say("half")
    say("committing")
    ledger.commit(run_id, steps=STEPS, artifact_hash="a" * 64)
    say("committed")
    time.sleep(60)


if __name__ == "__main__":
    for line in sys.stdin:
        run_id, truth = line.split()
        child = os.fork()
        if child == 0:
            spend(run_id, Path(truth))
            os._exit(0)
        say(f"child {child}")
        os.waitpid(child, 0)
        say("ended")
