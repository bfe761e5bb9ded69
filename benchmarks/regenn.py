"""ReGENN on the first 120 days of COVID-19, and what an epoch and a step of it cost.

    .venv/bin/python benchmarks/regenn.py jhu --seeds 3
    .venv/bin/python benchmarks/regenn.py speed

Prints Markdown. On COVID-19 the networks forecast through one of several views of the counts (raw, logarithm,
differences, ...). A view, like the best epoch, is chosen by the validation days alone and for each network apart; every
scale and the graph come from the training days, or from the window itself. `speed` reads peak memory from /proc and so
needs Linux.
"""

import argparse
import copy
import ctypes
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from statistics import mean, median, stdev

import polars as pl
import torch
from torch import Tensor, nn

from data.bundled import HERE
from models.baselines import Linear, Naive, SeasonalNaive
from models.graph_evolution import cooccurrence_graph
from models.regenn import PanelAxes, RegennForecaster, RegennSettings
from models.regenn_reference import RegennReference, cut_starts, errors_of, train_epoch, training_scale
from pipelines.spec import DLinearModel, Model, RecurrentModel, RegennModel
from pipelines.zoo import Shape, build, learn_graph

VARIABLES = ("confirmed", "deaths", "recovered")
DAYS, HORIZON, RESERVED = 120, 14, 14
WINDOW = 14
METRICS = ("mae", "rmse", "msle")

# ---------------------------------------------------------------- the days


@dataclass(frozen=True)
class Outbreak:
    """Cumulative counts [T, N, F] of the countries, and the first steps of the windows of each range."""

    countries: list[str]
    counts: Tensor
    train: range
    validation: int
    test: int

    @property
    def train_end(self) -> int:
        return len(self.counts) - HORIZON - RESERVED

    def window(self, start: int | Tensor) -> Tensor:
        return self._cut(start, 0, WINDOW)

    def target(self, start: int | Tensor) -> Tensor:
        return self._cut(start, WINDOW, HORIZON)

    def _cut(self, start: int | Tensor, first: int, length: int) -> Tensor:
        return self.counts[torch.as_tensor(start).reshape(-1, 1) + first + torch.arange(length)]  # [B, length, N, F]


def read_outbreak() -> Outbreak:
    frame = pl.read_parquet(HERE / "jhu_covid" / "first_120_days.parquet")
    countries = frame["unique_id"].unique(maintain_order=True).to_list()
    counts = frame.select(pl.col(VARIABLES).cast(pl.Float64)).to_torch().view(len(countries), DAYS, len(VARIABLES))
    starts = cut_starts(DAYS, window=WINDOW, horizon=HORIZON, reserved=RESERVED)
    assert starts.validation is not None
    return Outbreak(countries, counts.transpose(0, 1).contiguous(), starts.train, starts.validation, starts.test)


# ---------------------------------------------------------------- views

Decode = Callable[[Tensor], Tensor]
View = Callable[[Tensor], tuple[Tensor, Decode]]  # a window of counts [B, W, N, F] to what a network sees, and back


def views(past: Tensor) -> dict[str, View]:
    """Each by name, with the scales of the training days `past` [T, N, F]."""
    top = past.amax(0).clamp(min=1)
    new = past.diff(dim=0).abs().amax(0).clamp(min=1)

    def level(x: Tensor) -> tuple[Tensor, Decode]:
        return x / top, lambda out: out * top

    def logarithm(x: Tensor) -> tuple[Tensor, Decode]:
        scale = top.log1p()
        return x.log1p() / scale, lambda out: (out * scale).clamp(max=20).expm1()

    def differences(x: Tensor) -> tuple[Tensor, Decode]:
        daily = x.diff(dim=1, prepend=x[:, :1]) / new
        return daily, lambda out: x[:, -1:] + (out * new).cumsum(1)

    def growth(x: Tensor) -> tuple[Tensor, Decode]:
        last = x[:, -1:].log1p()
        return x.log1p() - last, lambda out: (last + out).clamp(max=20).expm1()

    def pace(x: Tensor) -> tuple[Tensor, Decode]:
        step = x.diff(dim=1).abs().mean(1, keepdim=True).clamp(min=0.1)
        return (x - x[:, -1:]) / step, lambda out: x[:, -1:] + out * step

    return {"level": level, "log": logarithm, "differences": differences, "growth": growth, "pace": pace}


VIEW_NOTES = {
    "level": "counts over each series' largest in training",
    "log": "log(1 + count), over its largest in training",
    "differences": "new counts of a day over the largest in training; the forecast is added up",
    "growth": "log(1 + count) less that of the window's last day",
    "pace": "distance from the window's last count, in mean daily changes of that window (at least 0.1)",
}

# ---------------------------------------------------------------- networks

NETWORKS: dict[str, Model] = {
    "gru": RecurrentModel(name="gru", hidden=64),
    "dlinear": DLinearModel(name="dlinear"),
    "regenn": RegennModel(name="regenn", dropout=0.0),
}
FORMS = {"level": ("value", "change"), "log": ("value", "change")}  # of the output; other views are changes already


@dataclass(frozen=True)
class Choice:
    """How a network is trained: what it sees, what it puts out, and on which scale its loss is."""

    view: str
    predict: str
    loss: str  # absolute error of "counts", as in the paper, or of their "log"

    def __str__(self) -> str:
        return f"{self.view}, {self.predict}, loss on {self.loss}"


@dataclass(frozen=True)
class Trained:
    choice: Choice
    validation_mae: float
    epoch: int
    test: dict[str, float]


def choices(name: str) -> Iterator[Choice]:
    """DLinear has one form; a loss of logarithms is left out where validation ruled it out."""
    for view in VIEW_NOTES:
        forms = FORMS.get(view, ("value",)) if name != "dlinear" else ("value",)
        losses = ("counts",) if view in FORMS else ("counts", "log")
        for predict, loss in product(forms, losses):
            yield Choice(view, predict, loss)


def train(name: str, choice: Choice, outbreak: Outbreak, *, seed: int, epochs: int, patience: int = 15) -> Trained:
    """The weights of the best validation epoch, and what they make of the test days."""
    torch.manual_seed(seed)
    past = outbreak.counts[: outbreak.train_end]
    model = NETWORKS[name].model_copy(update={} if name == "dlinear" else {"predict": choice.predict})
    network = build(model, shape_of(outbreak))
    learn_graph(network, past, torch.ones_like(past, dtype=torch.bool))
    view = views(past)[choice.view]
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    best, best_epoch, kept = float("inf"), 0, network.state_dict()
    for epoch in range(epochs):
        learn(network, view, choice.loss, outbreak, optimizer)
        schedule.step()
        ahead = forecast(network, view, outbreak, outbreak.validation)
        found = float((ahead - outbreak.target(outbreak.validation)).abs().mean())
        if found < best:
            best, best_epoch, kept = found, epoch, copy.deepcopy(network.state_dict())
        elif epoch - best_epoch >= patience:
            break
    network.load_state_dict(kept)
    return Trained(choice, best, best_epoch, scores(forecast(network, view, outbreak, outbreak.test), outbreak))


def shape_of(outbreak: Outbreak) -> Shape:
    return Shape(
        window=WINDOW,
        horizon=HORIZON,
        nodes=len(outbreak.countries),
        variables=len(VARIABLES),
        slots_per_day=1,
        has_week=False,
        predict="value",
    )


def learn(
    network: nn.Module, view: View, loss: str, outbreak: Outbreak, optimizer: torch.optim.Optimizer, batch: int = 8
) -> None:
    """One pass over the training windows, `batch` of them and all countries a step."""
    network.train()
    starts = torch.tensor(outbreak.train)
    for chosen in starts[torch.randperm(len(starts))].split(batch):
        predicted, truth = run(network, view, outbreak.window(chosen)), outbreak.target(chosen)
        if loss == "log":
            predicted, truth = predicted.clamp(min=0).log1p() + predicted.clamp(max=0), truth.log1p()
        error = (predicted - truth).abs().mean()
        optimizer.zero_grad()
        error.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()


def run(network: nn.Module, view: View, counts: Tensor) -> Tensor:
    """Windows of counts [B, W, N, F] to forecasts of counts [B, H, N, F]."""
    seen, decode = view(counts)
    calendar = torch.zeros(len(counts), WINDOW + HORIZON, 3)
    return decode(network(seen.float(), torch.ones_like(seen, dtype=torch.bool), calendar).double())


@torch.no_grad()
def forecast(network: nn.Module, view: View, outbreak: Outbreak, start: int) -> Tensor:
    """From one window, all countries as one batch; a count is not negative."""
    network.eval()
    return run(network, view, outbreak.window(start)).clamp(min=0)


def scores(predicted: Tensor, outbreak: Outbreak) -> dict[str, float]:
    found = errors_of(predicted, outbreak.target(outbreak.test))
    return {metric: found[metric] for metric in METRICS}


def yardsticks(outbreak: Outbreak) -> dict[str, dict[str, float]]:
    x = outbreak.window(outbreak.test)
    mask, calendar = torch.ones_like(x, dtype=torch.bool), torch.zeros(1, WINDOW + HORIZON, 3)
    return {
        "persistence": scores(Naive(HORIZON)(x, mask, calendar), outbreak),
        "seasonal naive (week)": scores(SeasonalNaive(HORIZON, 7)(x, mask, calendar), outbreak),
        "linear continuation": scores(Linear(HORIZON)(x, mask, calendar).clamp(min=0), outbreak),
    }


def jhu(seeds: int, epochs: int) -> str:
    outbreak = read_outbreak()
    tried = {
        name: [train(name, choice, outbreak, seed=0, epochs=epochs) for choice in choices(name)] for name in NETWORKS
    }
    chosen = {name: min(runs, key=lambda each: each.validation_mae) for name, runs in tried.items()}
    rows = {name: [found] for name, found in yardsticks(outbreak).items()}
    for name, first in chosen.items():
        others = (train(name, first.choice, outbreak, seed=seed, epochs=epochs) for seed in range(1, seeds))
        rows[f"{name} ({first.choice})"] = [first.test, *(each.test for each in others)]
    return "\n".join([*protocol_lines(outbreak), *result_lines(rows), "", *choice_lines(tried)])


def protocol_lines(outbreak: Outbreak) -> list[str]:
    shape = f"{len(outbreak.countries)} countries x {len(VARIABLES)} variables ({', '.join(VARIABLES)})"
    return [
        f"{shape}, {DAYS} days from 2020-01-22, cumulative; window {WINDOW}, horizon {HORIZON}; {len(outbreak.train)} "
        f"training windows whose targets end before day {outbreak.train_end}, one validation window (the next "
        f"{RESERVED} days), one test window (the last {HORIZON} days); counts, over all elements",
        "",
    ]


def result_lines(rows: dict[str, list[dict[str, float]]]) -> list[str]:
    head = ["| model | MAE | RMSE | MSLE |", "| --- | ---: | ---: | ---: |"]
    ordered = sorted(rows.items(), key=lambda row: mean(each["mae"] for each in row[1]))
    return head + [
        f"| {name} | " + " | ".join(spread([each[metric] for each in found]) for metric in METRICS) + " |"
        for name, found in ordered
    ]


def choice_lines(tried: dict[str, list[Trained]]) -> list[str]:
    head = [
        "| tried with seed 0 | validation MAE | best epoch | test MAE | test MSLE |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    return head + [
        f"| {name}: {each.choice} | {each.validation_mae:.0f} | {each.epoch} | {each.test['mae']:.0f} "
        f"| {each.test['msle']:.3f} |"
        for name, runs in tried.items()
        for each in sorted(runs, key=lambda each: each.validation_mae)
    ]


def spread(values: list[float]) -> str:
    digits = 0 if mean(values) >= 10 else 3
    around = f" ± {stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{mean(values):.{digits}f}{around}"


# ---------------------------------------------------------------- speed

PAPER = RegennSettings(output="Identity")  # attention 2048 wide inside, dropout everywhere
LEAN = RegennSettings(output="Identity", feedforward=64, attention_dropout=0.0)  # what a spec builds by default


def speed(repeats: int) -> str:
    return "\n".join([*epoch_lines(read_outbreak(), repeats), "", *size_lines(repeats)])


def epoch_lines(outbreak: Outbreak, repeats: int) -> list[str]:
    """All ways take turns, so that what else the machine does hits them alike."""
    networks = {
        "encoder 2048 (the paper's)": PAPER,
        "encoder 2048, fused attention": replace(PAPER, attention_dropout=0.0),
        "encoder 64, fused attention (as a spec builds it)": LEAN,
    }
    epochs = {name: (reference_epoch(outbreak, each), default_epoch(outbreak, each)) for name, each in networks.items()}
    seconds: dict[tuple[str, int], list[float]] = {way: [] for way in product(networks, (0, 1))}
    for _, (name, mode) in product(range(repeats), seconds):
        began = time.perf_counter()
        epochs[name][mode]()
        seconds[name, mode].append(time.perf_counter() - began)
    taken = {way: median(each) for way, each in seconds.items()}
    slowest = next(iter(taken.values()))
    return [
        "| network | reference, s an epoch | default, s | ratio | against the paper's reference |",
        "| --- | ---: | ---: | ---: | ---: |",
        *(
            f"| {name} | {taken[name, 0]:.2f} | {taken[name, 1]:.2f} | {taken[name, 0] / taken[name, 1]:.1f} "
            f"| {slowest / taken[name, 1]:.1f} |"
            for name in networks
        ),
    ]


def reference_epoch(outbreak: Outbreak, settings: RegennSettings) -> Callable[[], object]:
    values = outbreak.counts.transpose(0, 1).float().contiguous()  # [N, T, V]
    model = RegennReference(settings, window=WINDOW, horizon=HORIZON, variables=len(VARIABLES))
    scale, optimizer = training_scale(values, end=outbreak.train_end), torch.optim.Adam(model.parameters())
    return lambda: train_epoch(model, values, scale, optimizer, starts=outbreak.train, window=WINDOW, horizon=HORIZON)


def default_epoch(outbreak: Outbreak, settings: RegennSettings) -> Callable[[], object]:
    past = outbreak.counts[: outbreak.train_end]
    _, nodes, variables = past.shape
    network = RegennForecaster(settings, PanelAxes("nodes", nodes, variables), window=WINDOW, horizon=HORIZON)
    learn_graph(network, past, torch.ones_like(past, dtype=torch.bool))
    view, optimizer = views(past)["level"], torch.optim.Adam(network.parameters())
    return lambda: learn(network, view, "counts", outbreak, optimizer)


SAMPLES, GRAPH = (32, 256, 2048), 64  # samples N; variables V


def size_lines(repeats: int) -> list[str]:
    lines = [
        f"| samples (V = {GRAPH}, one window) | forward + backward, s | extra peak memory, MiB | arithmetic, Gflop |",
        "| --- | ---: | ---: | ---: |",
    ]
    for samples in SAMPLES:
        step = one_step(samples)
        step()
        memory = peak_memory(step)
        seconds = []
        for _ in range(repeats):
            began = time.perf_counter()
            step()
            seconds.append(time.perf_counter() - began)
        lines.append(f"| {samples} | {median(seconds):.3f} | {memory:.0f} | {gigaflops(samples):.1f} |")
    return lines


def one_step(samples: int) -> Callable[[], None]:
    torch.manual_seed(0)
    network = RegennForecaster(LEAN, PanelAxes("nodes", samples, GRAPH), window=WINDOW, horizon=HORIZON)
    x = torch.rand(1, WINDOW, samples, GRAPH)
    mask = torch.ones_like(x, dtype=torch.bool)
    network.set_graph(cooccurrence_graph(network.axes.as_samples(x[0]), network.axes.as_samples(mask[0])))

    def step() -> None:
        network.zero_grad()
        network(x, mask, torch.zeros(1, WINDOW + HORIZON, 3)).square().mean().backward()

    return step


def peak_memory(step: Callable[[], None]) -> float:
    """MiB beyond what the process held before, at its highest."""
    ctypes.CDLL("libc.so.6").malloc_trim(0)  # or what an earlier step has freed would hide what this one takes
    Path("/proc/self/clear_refs").write_text("5")  # the highest so far becomes the present
    before = resident("VmRSS")
    step()
    return (resident("VmHWM") - before) / 1024


def resident(field: str) -> int:
    """KiB of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


def gigaflops(samples: int) -> float:
    """Multiplications and additions of forward (1) and backward (2); fused attention redoes its scores (0.5)."""
    tokens, width, hidden = samples * GRAPH, WINDOW, LEAN.feedforward or 0
    attention = 4 * tokens * samples * width * 3.5
    encoder = 2 * tokens * (4 * width * width + 2 * width * hidden)
    gate = 8 * tokens * HORIZON * (width + HORIZON)
    sequencer = 8 * samples * HORIZON * GRAPH * 2 * GRAPH
    layers = 2 * samples * GRAPH * GRAPH * (WINDOW + HORIZON) + 2 * tokens * width * width
    return (attention + 3 * (encoder + gate + sequencer + layers)) / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["jhu", "speed"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=30, help="at most, of each network on COVID-19")
    parser.add_argument("--repeats", type=int, default=3, help="of which the median time is taken")
    parser.add_argument("--threads", type=int, default=1)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    print(jhu(chosen.seeds, chosen.epochs) if chosen.part == "jhu" else speed(chosen.repeats))


if __name__ == "__main__":
    main()
