"""What a private training step costs beside the same step without privacy, and beside Opacus' own ways.

    .venv/bin/python benchmarks/private_step.py

Prints Markdown. A step is forward, gradients, clipping, noise and Adam; all ways take turns in one process on one
thread, and the figures are medians of processor time, as other work on the machine adds to the clock alone. The step
without privacy is that of `nn.GRU` or `nn.LSTM`, whose weights the private one uses in place. Reads peak memory from
/proc, so needs Linux.
"""

import argparse
import gc
import time
import warnings
from collections.abc import Callable
from functools import partial
from statistics import median

import torch
from opacus import GradSampleModule
from opacus.grad_sample import GradSampleModuleFastGradientClipping
from opacus.layers import DPGRU, DPLSTM
from opacus.optimizers import DPOptimizer, DPOptimizerFastGradientClipping
from opacus.utils.fast_gradient_clipping_utils import DPLossFastGradientClipping
from peak_memory import peak_memory
from torch import Tensor, nn
from torch.nn import functional

from models.aggregations import AggregationName, make_aggregation
from models.clipped_sum import Way, looped_sum, tapped_sum, vmapped_sum
from models.evolvegcn import EvolveGCN, EvolveGCNSettings
from models.forecaster import Scaled, Scaler
from models.graph_forecaster import GraphForecaster
from models.graph_recurrent import GraphRecurrent
from models.window_losses import WindowLosses
from pipelines.privacy.mechanisms import PrivateTraining
from pipelines.privacy.private_step import PrivateStep
from pipelines.privacy.randomness import SystemRandomness

WINDOW, FEATURES, OUTPUTS = 24, 32, 6
SHAPES = ((64, 64), (64, 128), (256, 64))  # batch, hidden
NODES, HORIZON, GRAPH_BATCH, SNAPSHOTS, DENSITY = 20, 6, 64, 8, 0.2
WARM_UPS = 3
NOISE = {"noise_multiplier": 1.0, "max_grad_norm": 1.0}
CELLS: dict[str, tuple[type[nn.Module], type[nn.Module]]] = {"GRU": (nn.GRU, DPGRU), "LSTM": (nn.LSTM, DPLSTM)}
Step = Callable[[], object]
Maker = Callable[[], Step]


class Recurrent(nn.Module):
    """The last state of one recurrence, and a dense output: the forecasters of `models.recurrent` in little."""

    def __init__(self, cell: type[nn.Module], hidden: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.rnn = cell(FEATURES, hidden, batch_first=True)
        self.output = nn.Linear(hidden, OUTPUTS)

    def forward(self, x: Tensor) -> Tensor:
        state = self.rnn(x)[1]
        return self.output((state[0] if isinstance(state, tuple) else state)[-1])


class Losses(nn.Module):
    """One a row."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return (self.network(x) - y).square().mean(1)


class RowLoss:
    """As Opacus' ghost clipping wants it: one number a row where nothing is reduced."""

    reduction = "mean"

    def __call__(self, found: Tensor, y: Tensor) -> Tensor:
        each = (found - y).square().mean(1)
        return each.mean() if self.reduction == "mean" else each


def plain_step(losses: nn.Module, batch: list[Tensor]) -> Step:
    optimizer = torch.optim.Adam(losses.parameters())

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        losses(*batch).mean().backward()
        optimizer.step()

    return step


def private_step(losses: nn.Module, batch: list[Tensor], way: Way) -> Step:
    mechanism = PrivateTraining(1.0, sample_rate=0.1, steps=10**9, max_grad_norm=1.0)
    optimizer = torch.optim.Adam(losses.parameters())
    step = PrivateStep(losses, optimizer, mechanism, way, SystemRandomness(), expected=len(batch[0]))
    return lambda: step([batch])


def opacus_step(network: nn.Module, batch: list[Tensor], mode: str) -> Step:
    x, y = batch
    hooked = GradSampleModule(network) if mode == "hooks" else GradSampleModule(network, force_functorch=True)
    optimizer = DPOptimizer(torch.optim.Adam(network.parameters()), expected_batch_size=len(x), **NOISE)

    def step() -> None:
        optimizer.zero_grad()
        functional.mse_loss(hooked(x), y).backward()
        optimizer.step()

    return step


def ghost_step(network: nn.Module, batch: list[Tensor]) -> Step:
    x, y = batch
    hooked = GradSampleModuleFastGradientClipping(network, max_grad_norm=1.0, use_ghost_clipping=True)
    inner = torch.optim.Adam(network.parameters())
    optimizer = DPOptimizerFastGradientClipping(inner, expected_batch_size=len(x), **NOISE)
    criterion = DPLossFastGradientClipping(hooked, optimizer, RowLoss())

    def step() -> None:
        optimizer.zero_grad()
        criterion(hooked(x), y).backward()
        optimizer.step()

    return step


def recurrent_ways(cell: str, batch_size: int, hidden: int) -> dict[str, Maker]:
    """Makers, so that each can be made in a process of its own."""
    fused, opacus = CELLS[cell]
    torch.manual_seed(0)
    batch = [torch.randn(batch_size, WINDOW, FEATURES), torch.randn(batch_size, OUTPUTS)]
    return {
        f"nn.{cell}, no privacy": lambda: plain_step(Losses(Recurrent(fused, hidden)), batch),
        f"**nn.{cell}, private: taps and Gram norms**": lambda: private_step(
            Losses(Recurrent(fused, hidden)), batch, tapped_sum
        ),
        "private: vmap over the whole model": lambda: private_step(
            Losses(Recurrent(fused, hidden)), batch, vmapped_sum
        ),
        f"Opacus DP{cell}, hooks": lambda: opacus_step(Recurrent(opacus, hidden), batch, "hooks"),
        f"Opacus DP{cell}, ghost": lambda: ghost_step(Recurrent(opacus, hidden), batch),
        f"Opacus DP{cell}, functorch": lambda: opacus_step(Recurrent(opacus, hidden), batch, "functorch"),
    }


def message_passing(name: AggregationName) -> GraphRecurrent:
    return GraphRecurrent(32, partial(make_aggregation, name, 32), layers=2)


# each with the way that `models.sample_check` finds for it
GRAPHS: dict[str, tuple[Callable[[], EvolveGCN | GraphRecurrent], bool, Way]] = {
    "EvolveGCN-H": (lambda: EvolveGCN(EvolveGCNSettings("H"), [32, 32, 32]), False, vmapped_sum),
    "messages, mean": (lambda: message_passing("mean"), False, vmapped_sum),
    "messages, sum": (lambda: message_passing("sum"), False, vmapped_sum),
    "messages, max": (lambda: message_passing("max"), False, vmapped_sum),
    "messages, lcm": (lambda: message_passing("lcm"), False, looped_sum),
    "messages, mean, edges of each window": (lambda: message_passing("mean"), True, looped_sum),
}


def graph_ways(encoder: Callable[[], EvolveGCN | GraphRecurrent], is_dynamic: bool, way: Way) -> dict[str, Maker]:
    torch.manual_seed(0)
    x, y = torch.randn(GRAPH_BATCH, WINDOW, NODES, 1), torch.randn(GRAPH_BATCH, HORIZON, NODES, 1)
    batch = [x, torch.ones_like(x) > 0, torch.rand(GRAPH_BATCH, WINDOW + HORIZON, 3), y, torch.ones_like(y) > 0]
    if is_dynamic:
        batch.append((torch.rand(GRAPH_BATCH, SNAPSHOTS, NODES, NODES) < DENSITY).float())

    def losses() -> WindowLosses:
        torch.manual_seed(0)
        network = GraphForecaster(
            encoder(),
            window=WINDOW,
            horizon=HORIZON,
            nodes=NODES,
            variables=1,
            hidden=32,
            snapshots=SNAPSHOTS,
            lags=4,
            is_dynamic=is_dynamic,
            directed=False,
        )
        if not is_dynamic:
            network.set_graph((torch.rand(NODES, NODES) < DENSITY).float())
        return WindowLosses(Scaled(network, Scaler(NODES, 1)), functional.l1_loss).train()

    return {
        "no privacy": lambda: plain_step(losses(), batch),
        "**private**": lambda: private_step(losses(), batch, way),
    }


def medians(ways: dict[str, Maker], rounds: int) -> dict[str, float]:
    """Processor seconds of a step, the ways taking turns."""
    steps = {name: make() for name, make in ways.items()}
    spent: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(WARM_UPS + rounds):
        for name, step in steps.items():
            began = time.process_time()
            step()
            if turn >= WARM_UPS:
                spent[name].append(time.process_time() - began)
    return {name: median(times) for name, times in spent.items()}


def peaks(ways: dict[str, Maker]) -> dict[str, float]:
    """MB that three steps add to what a process has resident, each way in a process of its own."""

    def three(make: Maker) -> None:
        step = make()
        for _ in range(3):
            step()

    return {name: peak_memory(lambda make=make: three(make)) for name, make in ways.items()}


def table(title: str, cases: dict[str, dict[str, Maker]], rounds: int) -> str:
    """Each figure over that of the first way, with the first way's own beside it."""
    times = {case: medians(ways, rounds) for case, ways in cases.items()}
    memory = {case: peaks(ways) for case, ways in cases.items()}
    first = next(iter(cases.values()))
    lines = [
        f"| {title} | " + " | ".join(f"{case}, time | memory" for case in cases) + " |",
        "| --- |" + " --- | --- |" * len(cases),
    ]
    base = next(iter(first))
    for name in first:
        cells = []
        for case in cases:
            of_time, of_memory = times[case][name], memory[case][name]
            if name == base:
                cells.append(f"1 ({1e3 * of_time:.1f} ms) | 1 ({of_memory:.0f} MB)")
            else:
                cells.append(f"{of_time / times[case][base]:.2f} | {of_memory / memory[case][base]:.2f}")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20, help="steps of each way")
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # Opacus' about hooks
    gc.disable()
    for cell in CELLS:
        cases = {f"B {batch}, H {hidden}": recurrent_ways(cell, batch, hidden) for batch, hidden in SHAPES}
        print(table(cell, cases, rounds), "\n", flush=True)
    for name, graph in GRAPHS.items():
        print(table(name, {f"B {GRAPH_BATCH}, {NODES} nodes": graph_ways(*graph)}, rounds), "\n", flush=True)


if __name__ == "__main__":
    main()
