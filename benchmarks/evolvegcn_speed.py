"""What a step of EvolveGCN costs beside plain cells made of PyG's own convolution.

    .venv/bin/python benchmarks/evolvegcn_speed.py

Prints Markdown. The plain cells stand for the public ones: a convolution at every step, normalised within every call,
and a recurrent cell whose gates are separate products. Where torch_geometric_temporal can be imported its cells take
their turn too, two of them with an activation as theirs are of one layer. Processor time is given beside the clock's,
as other work on the machine adds to the latter alone. Reads peak memory from /proc, so needs Linux.
"""

import argparse
import gc
import importlib.util
import time
from collections.abc import Callable
from itertools import product
from statistics import median

import torch
from peak_memory import peak_memory
from torch import Tensor, nn
from torch.nn import functional
from torch_geometric.nn import GCNConv

from models.adjacency import symmetric_adjacency
from models.evolvegcn import SLOPE, EvolveGCN, EvolveGCNSettings
from models.graph import Graph

STEPS, NODES, PAIRS, WIDTH = 10, 5_000, 25_000, 64
WARM_UPS = 2
EDGES = (50_000, 500_000, 1_000_000, 2_000_000, 5_000_000)  # of a snapshot, directed
Step = Callable[[], object]


def raw_snapshots(steps: int, nodes: int, pairs: int) -> list[tuple[Tensor, Tensor]]:
    """Features [N, WIDTH], and `pairs` random undirected edges in both directions."""
    torch.manual_seed(0)
    drawn = [(torch.randn(nodes, WIDTH), torch.randint(nodes, (2, pairs))) for _ in range(steps)]
    return [(x, torch.cat([pair, pair.flip(0)], dim=1)) for x, pair in drawn]


# ---------------------------------------------------------------- plain cells


class PlainGRU(nn.Module):
    """The matrix GRU, a product a gate."""

    def __init__(self) -> None:
        super().__init__()
        bound = WIDTH**-0.5
        self.m = nn.ParameterList(torch.empty(WIDTH, WIDTH).uniform_(-bound, bound) for _ in range(3))
        self.u = nn.ParameterList(torch.empty(WIDTH, WIDTH).uniform_(-bound, bound) for _ in range(3))
        self.b = nn.ParameterList(torch.zeros(WIDTH, WIDTH) for _ in range(3))

    def forward(self, read: Tensor, weight: Tensor) -> Tensor:
        update = torch.sigmoid(self.m[0] @ read + self.u[0] @ weight + self.b[0])
        reset = torch.sigmoid(self.m[1] @ read + self.u[1] @ weight + self.b[1])
        candidate = torch.tanh(self.m[2] @ read + self.u[2] @ (reset * weight) + self.b[2])
        return (1 - update) * weight + update * candidate


class PlainCell(nn.Module):
    def __init__(self, variant: str) -> None:
        super().__init__()
        bound = WIDTH**-0.5
        self.initial = nn.Parameter(torch.empty(WIDTH, WIDTH).uniform_(-bound, bound))
        self.p = nn.Parameter(torch.empty(WIDTH).uniform_(-bound, bound)) if variant == "H" else None
        self.gru = PlainGRU()
        self.conv = GCNConv(WIDTH, WIDTH, bias=False)
        del self.conv.lin  # the weight is the evolved one
        self.conv.lin = lambda x: x

    def forward(self, x: Tensor, edge_index: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        read = weight if self.p is None else self.summary(x, self.p)
        weight = self.gru(read, weight)
        return functional.leaky_relu(self.conv(x @ weight, edge_index), SLOPE), weight

    def summary(self, x: Tensor, p: Tensor) -> Tensor:
        best = (x @ p / p.norm()).topk(WIDTH)
        return (x[best.indices] * best.values.tanh().unsqueeze(-1)).T


def plain(variant: str) -> Step:
    cells = nn.ModuleList([PlainCell(variant), PlainCell(variant)])
    raw = raw_snapshots(STEPS, NODES, PAIRS)

    def forward() -> Tensor:
        weights = [cell.initial for cell in cells]
        for x, edge_index in raw:
            for layer, cell in enumerate(cells):
                x, weights[layer] = cell(x, edge_index, weights[layer])  # noqa: PLW2901  # the next layer's input
        return x

    return training_step(cells, forward)


def public(variant: str) -> Step:
    from torch_geometric_temporal.nn.recurrent import EvolveGCNH, EvolveGCNO

    cells = nn.ModuleList(EvolveGCNH(NODES, WIDTH) if variant == "H" else EvolveGCNO(WIDTH) for _ in range(2))
    raw = raw_snapshots(STEPS, NODES, PAIRS)

    def forward() -> Tensor:
        for cell in cells:
            cell.reinitialize_weight()
        for x, edge_index in raw:
            for cell in cells:
                x = functional.leaky_relu(cell(x, edge_index), SLOPE)  # noqa: PLW2901  # the next layer's input
        return x

    return training_step(cells, forward)


def ours(variant: str, *, steps: int = STEPS, nodes: int = NODES, pairs: int = PAIRS) -> Step:
    model = EvolveGCN(EvolveGCNSettings(variant), [WIDTH] * 3)  # type: ignore[arg-type]
    graphs = [Graph(x, symmetric_adjacency(edges, nodes=nodes)) for x, edges in raw_snapshots(steps, nodes, pairs)]
    return training_step(model, lambda: model(graphs)[0])


def ours_at_every_step(variant: str) -> Step:
    model = EvolveGCN(EvolveGCNSettings(variant), [WIDTH] * 3)  # type: ignore[arg-type]
    graphs = [Graph(x, symmetric_adjacency(edges, nodes=NODES)) for x, edges in raw_snapshots(STEPS, NODES, PAIRS)]
    return training_step(model, lambda: model.every_step(graphs)[0][-1])


def training_step(model: nn.Module, forward: Callable[[], Tensor]) -> Step:
    def step() -> None:
        model.zero_grad()
        forward().square().mean().backward()

    return step


# ---------------------------------------------------------------- tables


def compared(repeats: int) -> list[str]:
    """All ways take turns, so that what else the machine does hits them alike."""
    ways: dict[str, Callable[[str], Step]] = {"plain cells on GCNConv": plain}
    if importlib.util.find_spec("torch_geometric_temporal"):
        ways["torch_geometric_temporal"] = public
    ways |= {"ours, every convolution": ours_at_every_step, "ours": ours}
    steps = {(variant, name): ways[name](variant) for variant, name in product("HO", ways)}
    taken, memory = milliseconds(steps, repeats), {way: peak_memory(step) for way, step in steps.items()}
    lines = [
        "| | forward + backward, ms | ratio to ours | processor, ms | ratio to ours | extra peak memory, MiB |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for variant, name in steps:
        (clock, processor), (least, least_processor) = taken[variant, name], taken[variant, "ours"]
        lines.append(
            f"| -{variant}, {name} | {clock:.1f} | {clock / least:.1f} | {processor:.1f} "
            f"| {processor / least_processor:.1f} | {memory[variant, name]:.0f} |"
        )
    if "torch_geometric_temporal" not in ways:
        lines.append("| torch_geometric_temporal | not importable | | | | |")
    return lines


def growth(repeats: int) -> list[str]:
    """Processor time of one snapshot of ever more edges, ten a node."""
    lines = [
        "| edges | nodes | adjacency, s | -H, ms | -O, ms | -H, ns an edge | extra peak memory of -H, MiB |",
        "| ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for edges in EDGES:
        gc.collect()
        nodes = edges // 10
        (_, edge_index) = raw_snapshots(1, nodes, edges // 2)[0]
        began = time.process_time()
        symmetric_adjacency(edge_index, nodes=nodes)
        built = time.process_time() - began
        steps = {(variant, "ours"): ours(variant, steps=1, nodes=nodes, pairs=edges // 2) for variant in "HO"}
        taken = milliseconds(steps, max(2, repeats // 2))
        h, o = taken["H", "ours"][1], taken["O", "ours"][1]
        memory = peak_memory(steps["H", "ours"])
        lines.append(
            f"| {edges:,} | {nodes:,} | {built:.2f} | {h:.0f} | {o:.0f} | {h * 1e6 / edges:.0f} | {memory:.0f} |"
        )
    return lines


def milliseconds(steps: dict[tuple[str, str], Step], repeats: int) -> dict[tuple[str, str], tuple[float, float]]:
    """Medians by the clock and of the processor."""
    found: dict[tuple[str, str], list[tuple[float, float]]] = {way: [] for way in steps}
    for turn, (way, step) in product(range(WARM_UPS + repeats), steps.items()):
        began = time.perf_counter(), time.process_time()
        step()
        taken = 1000 * (time.perf_counter() - began[0]), 1000 * (time.process_time() - began[1])
        if turn >= WARM_UPS:
            found[way].append(taken)
    return {way: (median(clock for clock, _ in each), median(cpu for _, cpu in each)) for way, each in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=8, help="of which the median time is taken")
    parser.add_argument("--threads", type=int, default=1)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    print("\n".join([*compared(chosen.repeats), "", *growth(chosen.repeats)]))


if __name__ == "__main__":
    main()
