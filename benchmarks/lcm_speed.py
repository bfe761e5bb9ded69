"""What folding neighbours with a learned operator costs, ours beside PyG's, on the same rows in one run.

    .venv/bin/python benchmarks/lcm_speed.py

Prints Markdown. A step is forward, the sum of the results, and backward, from a plan made beforehand. The ways take
turns; times are the processor's, as other work on the machine adds to the clock alone. Memory is that of a step in a
fresh process, after one on a small graph. PyG's LCM and GRU are not run where their dense input alone is beyond
`--dense-gib`. Reads peak memory from /proc, so needs Linux.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from peak_memory import peak_memory
from torch import Tensor, nn
from torch_geometric.nn import GRUAggregation, LCMAggregation, MultiAggregation, SumAggregation

from models.commutative import BinaryGRU
from models.pooled_fold import pooled_fold
from models.tree_plan import make_plan

WIDTH, NODES, HUB = 64, 10_000, 3_000
OURS, LCM, GRU, SUM, MULTI = "ours", "PyG LCM", "PyG GRU", "PyG sum", "PyG mean+min+max+std"
DENSE = (LCM, GRU)
Step = Callable[[], None]


def power_law() -> Tensor:
    """In-degrees that fall with the rank to the power 0.656, from 3,000 on, nodes in random order."""
    degree = (HUB * torch.arange(1, NODES + 1, dtype=torch.float64) ** -0.656).long()
    return degree[torch.randperm(NODES, generator=torch.Generator().manual_seed(0))]


def hub_and_others() -> Tensor:
    """200 nodes of that graph, the largest among them, so that all are padded to 3,000."""
    degree = power_law()
    return torch.cat([degree.max().reshape(1), degree[degree < HUB][:199]])


GRAPHS: dict[str, Callable[[], Tensor]] = {  # in-degrees, and so the whole of what an aggregation sees
    "regular": lambda: torch.full((NODES,), 16),
    "slice": hub_and_others,
    "power law": power_law,
    "star": lambda: torch.cat([torch.tensor([1_000_000]), torch.zeros(NODES, dtype=torch.long)]),
}
WAYS = {"regular": (OURS, LCM, GRU, SUM, MULTI), "star": (OURS, SUM)} | dict.fromkeys(
    ("slice", "power law"), (OURS, LCM, GRU, SUM, MULTI)
)
REPEATS = {"regular": 7, "slice": 1, "power law": 5, "star": 2}


def step_of(way: str, degree: Tensor, device: str = "cpu") -> Step:
    torch.manual_seed(0)
    x = torch.randn(int(degree.sum()), WIDTH, device=device, requires_grad=True)
    if way == OURS:
        op = BinaryGRU(WIDTH).to(device)
        plan = make_plan(pointer(degree).to(device), len(x))
        return training_step(op, x, lambda: pooled_fold(op, x, plan)[0])
    kinds: dict[str, Callable[[], nn.Module]] = {
        LCM: lambda: LCMAggregation(WIDTH, WIDTH, project=False),
        GRU: lambda: GRUAggregation(WIDTH, WIDTH),
        SUM: SumAggregation,
        MULTI: lambda: MultiAggregation(["mean", "min", "max", "std"]),
    }
    model = kinds[way]().to(device)
    index = torch.arange(len(degree)).repeat_interleave(degree).to(device)
    return training_step(model, x, lambda: model(x, index, dim_size=len(degree)))


def training_step(model: nn.Module, x: Tensor, forward: Callable[[], Tensor]) -> Step:
    def step() -> None:
        model.zero_grad()
        x.grad = None
        forward().sum().backward()

    return step


def pointer(degree: Tensor) -> Tensor:
    return torch.cat([degree.new_zeros(1), degree.cumsum(0)])


# ---------------------------------------------------------------- measures


def milliseconds(
    steps: dict[str, Step], repeats: int, clock: Callable[[], float] = time.process_time
) -> dict[str, float]:
    """Medians; the first turn warms up."""
    found: dict[str, list[float]] = {way: [] for way in steps}
    for _ in range(1 + repeats):
        for way, step in steps.items():
            began = clock()
            step()
            found[way].append(1000 * (clock() - began))
    return {way: median(each[1:]) for way, each in found.items()}


def memory_in_a_fresh_process(way: str, graph: str) -> float:
    """MiB."""
    asked = [sys.executable, str(Path(__file__).resolve()), "--memory-of", way, "--on", graph]
    return float(subprocess.run(asked, check=True, capture_output=True, text=True).stdout)


def memory(way: str, graph: str) -> float:
    step_of(way, torch.tensor([3, 0, 2]))()  # so that the code itself is in memory
    return peak_memory(step_of(way, GRAPHS[graph]()))


def plan_milliseconds(degree: Tensor) -> float:
    ptr, rows = pointer(degree), int(degree.sum())
    return milliseconds({OURS: lambda: make_plan(ptr, rows)}, 5)[OURS]


# ---------------------------------------------------------------- tables


def table(graph: str, dense_gib: float) -> list[str]:
    degree = GRAPHS[graph]()
    rows, gib = int(degree.sum()), len(degree) * int(degree.max()) * WIDTH * 4 / 2**30
    ways = [way for way in WAYS[graph] if way not in DENSE or gib <= dense_gib]
    taken = milliseconds({way: step_of(way, degree) for way in ways}, REPEATS[graph])
    used = {way: memory_in_a_fresh_process(way, graph) for way in ways}
    lines = [
        f"**{graph}**: {len(degree):,} nodes, {rows:,} edges, degrees to {int(degree.max()):,}; "
        f"plan {plan_milliseconds(degree):.0f} ms",
        "",
        "| | forward + backward, ms | ours to it | extra peak memory, MiB | ours to it |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for way in WAYS[graph]:
        if way not in taken:
            lines.append(f"| {way} | not run: a dense input of {gib:.1f} GiB | | | |")
            continue
        ratios = taken[OURS] / taken[way], used[OURS] / used[way]
        lines.append(f"| {way} | {taken[way]:.0f} | {ratios[0]:.3f} | {used[way]:.0f} | {ratios[1]:.3f} |")
    return [*lines, ""]


def on_gpu() -> list[str]:
    """By the clock, the device waited for."""
    lines = ["**GPU**", "", "| | ours, ms | PyG LCM, ms |", "| --- | ---: | ---: |"]
    for graph in ("regular", "slice", "power law"):
        found = ["not measured", "not measured"]
        if torch.cuda.is_available():
            ways = (OURS,) if graph == "power law" else (OURS, LCM)
            taken = milliseconds(
                {way: waited(step_of(way, GRAPHS[graph](), "cuda")) for way in ways}, 10, time.perf_counter
            )
            found = [f"{taken[way]:.1f}" if way in taken else "not run" for way in (OURS, LCM)]
        lines.append(f"| {graph} | {found[0]} | {found[1]} |")
    return lines


def waited(step: Step) -> Step:
    def whole() -> None:
        step()
        torch.cuda.synchronize()

    return whole


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--graphs", nargs="+", choices=GRAPHS, default=list(GRAPHS))
    parser.add_argument("--dense-gib", type=float, default=1.0)
    parser.add_argument("--memory-of", help="of one way alone, in MiB: what the command asks of fresh processes")
    parser.add_argument("--on", choices=GRAPHS, help="the graph of --memory-of")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    if chosen.memory_of:
        print(memory(chosen.memory_of, chosen.on))
        return
    for graph in chosen.graphs:
        print("\n".join(table(graph, chosen.dense_gib)), flush=True)
    print("\n".join(on_gpu()))


if __name__ == "__main__":
    main()
