"""Whole private runs that will be killed: a line in is a run, from reserve to register, in a child of its own.

The mother has everything imported, so that a child is at work at once. Before noise is drawn the child writes so to a
file of its own; that file is the truth that the ledger is held against.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.experiment import enrol, train
from pipelines.ingest import ingest
from pipelines.privacy.ledger.ledger import Ledger
from pipelines.privacy.ledger.records import Policy
from pipelines.privacy.private_step import NoisedOptimizer
from pipelines.privacy.release import ingest as release_ingest
from pipelines.spec import Spec, parse_spec

HOURS = 24 * 14


def say(word: str) -> None:
    os.write(1, f"{word}\n".encode())


def quietly(line: str) -> None:
    pass


def spec_of(name: str, mechanism: str, folder: Path) -> Spec:
    """Counts of two nodes over two weeks, other ones for each name, so that every run has a budget of its own."""
    draw = np.random.default_rng(int(name.split("-")[1]))
    clock = np.datetime64("2024-03-04T00:00") + np.arange(HOURS).astype("timedelta64[h]")
    rows = [f"{time},{a},{b}" for time, (a, b) in zip(clock, draw.integers(50, 90, (HOURS, 2)), strict=True)]
    (folder / f"{name}.csv").write_text("\n".join(["time,a,b", *rows, ""]))
    privacy: dict[str, Any] = {"epsilon": 2.0, "mechanism": mechanism}
    if mechanism == "release":
        privacy |= {"unit": "user_day", "one_place_per_step": True}
    else:
        privacy |= {"unit": "window", "public_scale": {"location": 70, "spread": 20}}
    raw = {
        "name": name,
        "data": {
            "kind": "wide",
            "files": f"{name}.csv",
            "interval": "1h",
            "values": "counts",
            "start": "2024-03-04",
            "end": "2024-03-18",
            "columns": {"values": ["a", "b"]},
        },
        "task": {"window": 6, "horizon": 1, "split": {"validation": 48, "test": 48}},
        "model": {"name": "gru", "hidden": 4, "profile": 0},
        "training": {"epochs": 20 if mechanism == "dp_sgd" else 1},
        "evaluation": {"baselines": ["naive"]},
        "privacy": privacy,
    }
    return parse_spec(raw, folder=folder)


def witnessed(draw: Callable[..., Any], truth: Path) -> Callable[..., Any]:
    """`draw`, after a byte in `truth` that says so."""

    def drawn(*given: Any, **named: Any) -> Any:
        with truth.open("ab", buffering=0) as file:
            file.write(b".")
        say("drawing")
        return draw(*given, **named)

    return drawn


def run(name: str, mechanism: str, folder: Path, truth: Path) -> None:
    spec = spec_of(name, mechanism, folder)
    assert spec.privacy is not None
    policy = Policy("default", name, spec.privacy.unit, epsilon=4.0, delta=1e-6, order=8.0)
    Ledger.open().grant(policy, actor="owner", reason="to be killed")
    NoisedOptimizer.add_noise = witnessed(NoisedOptimizer.add_noise, truth)  # type: ignore[method-assign]
    release_ingest.noisy = witnessed(release_ingest.noisy, truth)  # type: ignore[attr-defined]
    say("begun")
    dataset = ingest(spec, say=quietly)
    say("ingested")
    trained = train(spec, dataset, say=quietly)
    say("trained")
    enrol(spec, dataset, trained, say=quietly)
    say("registered")


if __name__ == "__main__":
    import opacus  # noqa: F401

    import pipelines.private_training  # noqa: F401

    for line in sys.stdin:
        name, mechanism, folder = line.split()
        child = os.fork()
        if child == 0:
            run(name, mechanism, Path(folder), Path(folder) / f"{name}.truth")
            os._exit(0)
        say(f"child {child}")
        status = os.waitpid(child, 0)[1]
        say(f"ended {os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0}")
