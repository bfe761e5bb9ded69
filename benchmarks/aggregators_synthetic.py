"""Aggregations on the second minimum of sets and on the six PNA tasks, beside the figures of the papers.

    .venv/bin/python benchmarks/aggregators_synthetic.py second-minimum --results second_minimum.jsonl
    .venv/bin/python benchmarks/aggregators_synthetic.py pna --results pna.jsonl --minutes 8
    .venv/bin/python benchmarks/aggregators_synthetic.py pna --time

Each run is a line of the results as soon as it ends, and is not done again; so what was stopped goes on, and with
`--table` what is there is shown without any run. A table takes hours on a core: `--time` says how many first.
`lcm:0.01` is LCM with that weight of the associativity penalty.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

import torch
from torch import Tensor, nn

from data.pna_multitask import TASKS, MultitaskGraphs, draw_multitask
from data.second_minimum import draw_multisets
from pipelines.synthetic import pna, second_minimum
from pipelines.synthetic.training import Training, train

AGGREGATIONS = {
    "second-minimum": ["lcm:0.01", "lcm", "max", "sum", "pna", "gru", "pyg-lcm", "pyg-gru"],
    "pna": ["lcm:0.01", "lcm", "sum", "max", "pna", "gru", "pyg-gru"],
}
SMALL, JUDGED = range(2, 17), (16, 32, 64, 128, 200)
SIZES = [*SMALL, *JUDGED[1:]]
# Ong and Veličković (arXiv:2212.08541), Table 2: accuracy at sizes 1 to 16, at 32 and at 200. 1,000 epochs
PAPER_SETS = {
    "lcm:1": ("0.997", "0.997", "0.822"),
    "lcm": ("0.997", "0.992", "0.443"),
    "max": ("0.901", "0.723", "0.069"),
    "sum": ("0.845", "0.261", "0.045"),
    "pna": ("0.961", "0.794", "0.110"),
    "gru": ("0.996", "0.998", "0.912"),
}
# the same, Table 1: log10 of the mean squared error, average first. Weight of the penalty not stated
PAPER_PNA = {
    "lcm, penalty": (-2.95, -2.99, -2.88, -2.92, -2.62, -2.92, -3.37),
    "lcm": (-3.00, -2.85, -2.77, -3.87, -2.34, -2.88, -3.29),
    "sum": (-2.50, -2.33, -2.26, -2.37, -1.82, -2.69, -3.52),
    "max": (-2.53, -2.36, -2.16, -2.59, -2.54, -2.67, -2.87),
    "pna": (-3.09, -2.94, -2.88, -3.82, -2.42, -3.00, -3.48),
    "gru": (-2.91, -2.84, -2.71, -3.73, -2.20, -2.88, -3.11),
}
Run = dict[str, Any]  # a line of the results


def main() -> None:
    chosen = arguments()
    torch.set_num_threads(1)
    if chosen.time:
        print(costs(chosen))
        return
    if not chosen.table:
        for training in trainings(chosen):
            run(chosen.task, training, chosen.results)
    print(table(chosen.task, read(chosen.results)))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=list(AGGREGATIONS))
    parser.add_argument("--results", type=Path, default=Path("synthetic.jsonl"))
    parser.add_argument("--aggregations", nargs="+")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, help="of a run; 6000 of second-minimum by default")
    parser.add_argument("--minutes", type=float, help="of a run of pna; 8 by default")
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--table", action="store_true", help="show what is there, run nothing")
    parser.add_argument("--time", action="store_true", help="time a step of each, and say what the table costs")
    chosen = parser.parse_args()
    chosen.aggregations = chosen.aggregations or AGGREGATIONS[chosen.task]
    return chosen


def trainings(chosen: argparse.Namespace) -> Iterable[Training]:
    """All seeds of an aggregation before the next one."""
    is_sets = chosen.task == "second-minimum"
    steps = chosen.steps or (6000 if is_sets else None)
    for name in chosen.aggregations:
        aggregation, _, weight = name.partition(":")
        for seed in chosen.seeds:
            yield Training(
                aggregation,
                assoc_weight=float(weight or 0),
                width=chosen.width,
                batch_size=128 if is_sets else 64,
                weight_decay=0.0 if is_sets else 1e-6,
                steps=steps,
                minutes=None if steps else chosen.minutes or 8,
                check_every=250 if is_sets else 40,
                seed=seed,
            )


def run(task: str, training: Training, results: Path) -> None:
    settings = asdict(training)
    if any((done["task"], done["settings"]) == (task, settings) for done in read(results)):
        return
    began = time.process_time()
    if task == "second-minimum":
        frame, course = second_minimum.run(training, sizes=SIZES, say=say)
    else:
        frame, course = pna.run(training, draw_multitask(), say=say)
    line = {
        "task": task,
        "settings": settings,
        "steps": course.steps,
        "best_step": course.best_step,
        "parameters": course.parameters,
        "cpu_seconds": round(time.process_time() - began, 1),
        "rows": frame.to_dicts(),
    }
    results.parent.mkdir(parents=True, exist_ok=True)
    with results.open("a") as file:
        file.write(json.dumps(line) + "\n")


def say(line: str) -> None:
    print(time.strftime("%H:%M:%S"), line, flush=True)


def read(results: Path) -> list[Run]:
    return [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []


def called(run: Run) -> str:
    settings = run["settings"]
    return settings["aggregation"] + (f":{settings['assoc_weight']:g}" if settings["assoc_weight"] else "")


def table(task: str, runs: list[Run]) -> str:
    """Raises SystemExit where runs of one row differ in more than the seed."""
    found: dict[str, list[Run]] = {}
    for each in runs:
        if each["task"] == task:
            found.setdefault(called(each), []).append(each)
    for name, alike in found.items():
        if len({json.dumps({**each["settings"], "seed": 0}, sort_keys=True) for each in alike}) > 1:
            raise SystemExit(f"the results of {name} have several settings; keep one file of results for each")
    return set_table(found) if task == "second-minimum" else task_table(found)


def set_table(found: dict[str, list[Run]]) -> str:
    heads = ["2 to 16", *map(str, JUDGED), "orders at 64", "seeds", "CPU s", "paper: 1 to 16", "32", "200"]
    lines = [f"| aggregation | {' | '.join(heads)} |", "| --- |" + " ---: |" * len(heads)]
    for name, runs in found.items():
        at = [{row["size"]: row for row in each["rows"]} for each in runs]
        small = spread([mean(rows[size]["accuracy"] for size in SMALL) for rows in at])
        ours = [spread([rows[size]["accuracy"] for rows in at]) for size in JUDGED]
        apart = f"{mean(rows[64]['orders_highest'] - rows[64]['orders_lowest'] for rows in at):.3f}"
        cost = f"{mean(each['cpu_seconds'] for each in runs):,.0f}"
        cells = [small, *ours, apart, str(len(runs)), cost, *PAPER_SETS.get(name, ("", "", ""))]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    lines.append(f"| lcm:1 | {' | '.join([''] * (len(heads) - 3))} | {' | '.join(PAPER_SETS['lcm:1'])} |")
    return "\n".join(lines) + "\n\n" + acceptance(found)


def acceptance(found: dict[str, list[Run]]) -> str:
    """Specification 7.4, line by line, on the means over the seeds; nothing of what has not run."""
    at = {
        name: {
            size: mean(row["accuracy"] for each in runs for row in each["rows"] if row["size"] == size)
            for size in SIZES
        }
        for name, runs in found.items()
    }
    lines = []
    if "lcm:0.01" in at:
        lines += [bar("lcm:0.01 at size 16", at["lcm:0.01"][16], 0.80), bar("at size 64", at["lcm:0.01"][64], 0.40)]
    if {"lcm:0.01", "lcm"} <= set(at):
        lines.append(bar("lcm:0.01 above lcm at size 64", at["lcm:0.01"][64] - at["lcm"][64], 0.10))
    if {"lcm:0.01", "sum"} <= set(at):
        lines += [bar(f"lcm:0.01 above sum at size {n}", at["lcm:0.01"][n] - at["sum"][n], 0.0) for n in (32, 64)]
    return "\n".join(lines)


def bar(what: str, found: float, wanted: float) -> str:
    return f"- {what}: {found:.3f}, wanted {wanted:.2f} or more: {'held' if found >= wanted else 'MISSED'}"


def task_table(found: dict[str, list[Run]]) -> str:
    heads = ["average", *TASKS, "orders", "steps", "seeds", "CPU s"]
    lines = [f"| aggregation | {' | '.join(heads)} |", "| --- |" + " ---: |" * len(heads)]
    for name, runs in found.items():
        rows = [{row["task"]: row for row in each["rows"] if row["sizes"] == "15-19"} for each in runs]
        ours = [spread([each[task]["log10_mse"] for each in rows], 2) for task in heads[: 1 + len(TASKS)]]
        apart = f"{mean(each['average']['orders_highest'] - each['average']['orders_lowest'] for each in rows):.3f}"
        steps, cost = (f"{mean(each[key] for each in runs):,.0f}" for key in ("steps", "cpu_seconds"))
        lines.append(f"| {name} | {' | '.join([*ours, apart, steps, str(len(runs)), cost])} |")
    for name, figures in PAPER_PNA.items():
        lines.append(f"| paper: {name} | {' | '.join(f'{f:.2f}' for f in figures)} | | | | |")
    return "\n".join(lines)


def spread(values: list[float], digits: int = 3) -> str:
    return f"{mean(values):.{digits}f}" + (f" ± {stdev(values):.{digits}f}" if len(values) > 1 else "")


def costs(chosen: argparse.Namespace) -> str:
    """CPU time of a training step; and of all steps of all seeds, where their number is known."""
    data = draw_multitask(train=64, validation=1, test=1) if chosen.task == "pna" else None
    lines, seeds = [], len(chosen.seeds)
    for training in trainings(argparse.Namespace(**{**vars(chosen), "seeds": [0]})):
        cost = step_cost(replace(training, steps=8, minutes=None), data)
        steps = training.steps
        hours = f", {seeds} x {steps:,} steps {seeds * steps * cost / 3600:.2f} h" if steps else ""
        lines.append(f"{training.name}: {1000 * cost:.0f} ms a step{hours}")
    return "\n".join(lines)


def step_cost(training: Training, data: MultitaskGraphs | None) -> float:
    """CPU seconds, the median of the steps but for the first two, from the beginning of one to that of the next."""
    torch.manual_seed(0)
    ticks: list[float] = []
    loss, network = set_loss(training) if data is None else task_loss(training, data)

    def ticking(step: int) -> Tensor:
        ticks.append(time.process_time())
        return loss(step)

    train(network, training, loss=ticking, check=lambda: 0.0, say=lambda line: None)
    return median(end - begin for begin, end in pairwise(ticks[2:]))


def set_loss(training: Training) -> tuple[Callable[[int], Tensor], nn.Module]:
    sets = draw_multisets(4096, smallest=2, largest=16, seed=1)
    network = second_minimum.new_network(training, sets)
    batches = second_minimum.shuffled_batches(sets, training.batch_size, seed=0)
    return lambda step: second_minimum.loss_of(network, next(batches)), network


def task_loss(training: Training, data: MultitaskGraphs) -> tuple[Callable[[int], Tensor], nn.Module]:
    network = pna.new_network(training, data.train)
    batches = pna.shuffled_batches(data.train, training.batch_size, seed=0)
    order = pna.mixed(torch.Generator().manual_seed(0))
    return lambda step: pna.squared_errors(network, next(batches), order).mean(), network


if __name__ == "__main__":
    main()
