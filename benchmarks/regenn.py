"""ReGENN on the first 120 days of COVID-19, what the paper's leak is worth, and what an epoch and a step cost.

    .venv/bin/python benchmarks/regenn.py jhu --seeds 3
    .venv/bin/python benchmarks/regenn.py reference --seeds 3
    .venv/bin/python benchmarks/regenn.py speed

Prints Markdown. On COVID-19 every network runs through the pipeline with each way of forecasting (`model.predict`) and
each scale of the loss (`training.loss_scale`) that its table has; the way is chosen by the validation days alone, for
each network apart. `speed` reads peak memory from /proc and so needs Linux.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from statistics import mean, median, stdev
from typing import get_args

import numpy as np
import torch
from peak_memory import peak_memory
from torch import Tensor

from data.splits import sample_starts
from data.windows import WindowSampler
from models.graph_evolution import cooccurrence_graph
from models.regenn import PanelAxes, RegennForecaster, RegennSettings
from models.regenn_reference import (
    RegennReference,
    Scale,
    errors_of,
    leaky_scale,
    train_epoch,
    training_scale,
)
from models.regenn_reference import forecast_at as reference_forecast
from pipelines.evaluate import backtest, forecast_at, targets_at
from pipelines.ingest import ingest
from pipelines.prepare import Prepared, prepare
from pipelines.spec import DLinearModel, ModelTable, RecurrentModel, RegennModel, Spec, Training, load_spec
from pipelines.train import Fitted
from pipelines.zoo import learn_graph

SPEC = "jhu-120"
METRICS = ("mae", "rmse", "msle")
QUIET: Callable[[str], None] = lambda line: None  # noqa: E731
Errors = dict[str, float]  # by metric


def prepare_covid(spec: Spec) -> Prepared:
    return prepare(spec, ingest(spec, say=QUIET))


# ---------------------------------------------------------------- a run through the pipeline


@dataclass(frozen=True)
class Trial:
    """What a run found: its own errors come first, those of the yardsticks after."""

    validation_mae: float
    best_epoch: int
    test: dict[str, Errors]

    @property
    def own(self) -> Errors:
        return next(iter(self.test.values()))


def try_out(spec: Spec, prepared: Prepared, folder: Path) -> Trial:
    evaluated = backtest(spec, prepared, folder=folder, say=QUIET)
    result = evaluated.backtest
    return Trial(
        validation_mae(evaluated.fitted, prepared),
        evaluated.fitted.history.best_epoch + 1,
        {model: {metric: result.total(model, metric) for metric in METRICS} for model in result.forecasts},
    )


def validation_mae(fitted: Fitted, prepared: Prepared) -> float:
    """In counts, whatever the network's own loss was, from the one cutoff whose targets are the validation days."""
    ranges, shape = prepared.ranges, prepared.shape
    cutoffs = range(ranges.train_end - 1, ranges.validation_end - shape.horizon)
    truth, _ = targets_at(prepared, cutoffs)
    return float(np.abs(forecast_at(fitted.network, prepared, cutoffs, window=shape.window) - truth).mean())


# ---------------------------------------------------------------- every way of forecasting

NETWORKS: dict[str, type[ModelTable]] = {"regenn": RegennModel, "gru": RecurrentModel, "dlinear": DLinearModel}


@dataclass(frozen=True)
class Choice:
    network: str
    predict: str
    loss_scale: str

    def __str__(self) -> str:
        return f"{self.network} ({self.predict}, {self.loss_scale})"


def choices(network: str) -> Iterator[Choice]:
    """`auto` is left out: it is one of the others."""
    ways = get_args(NETWORKS[network].model_fields["predict"].annotation)
    scales = get_args(Training.model_fields["loss_scale"].annotation)
    for predict, loss_scale in product(ways, scales):
        if predict != "auto":
            yield Choice(network, predict, loss_scale)


@dataclass(frozen=True)
class Bench:
    """The bundled experiment, which any choice can be put in."""

    spec: Spec
    prepared: Prepared
    folder: Path

    def run(self, choice: Choice, seed: int = 0) -> Trial:
        """The yardsticks beside it but DLinear, which is one of the networks here."""
        model = NETWORKS[choice.network].model_validate({"name": choice.network, "predict": choice.predict})
        changes = {"loss_scale": choice.loss_scale, "seed": seed}
        baselines = [name for name in self.spec.evaluation.baselines if name != "dlinear"]
        spec = self.spec.model_copy(
            update={
                "model": model,
                "training": self.spec.training.model_copy(update=changes),
                "evaluation": self.spec.evaluation.model_copy(update={"baselines": baselines}),
            }
        )
        return try_out(spec, self.prepared, self.folder)

    @property
    def bundled(self) -> dict[Choice, str]:
        """What the spec has as it stands: its network, and DLinear as a yardstick."""
        model, scale = self.spec.model, self.spec.training.loss_scale
        assert isinstance(model, RegennModel)
        assert model == RegennModel(name="regenn", predict=model.predict)
        return {
            Choice("regenn", model.predict, scale): "the bundled spec",
            Choice("dlinear", "value", scale): "the bundled spec's yardstick",
        }


def jhu(seeds: int, folder: Path) -> str:
    spec = load_spec(SPEC)
    bench = Bench(spec, prepare_covid(spec), folder)
    tried = {choice: bench.run(choice) for network in NETWORKS for choice in choices(network)}
    notes = dict(bench.bundled)
    for network in NETWORKS:
        best = min(choices(network), key=lambda choice: tried[choice].validation_mae)
        notes[best] = ", ".join(["chosen", *([notes[best]] if best in notes else [])])
    trials = {choice: [tried[choice], *(bench.run(choice, seed) for seed in range(1, seeds))] for choice in notes}
    rows = {f"{choice}: {notes[choice]}": [trial.own for trial in found] for choice, found in trials.items()}
    yardsticks = list(next(iter(tried.values())).test.items())[1:]
    rows |= {name: [errors] for name, errors in yardsticks}
    return "\n".join([*shape_lines(bench.prepared), *result_lines(rows), "", *choice_lines(tried)])


def shape_lines(prepared: Prepared) -> list[str]:
    panel, shape, ranges = prepared.panel, prepared.shape, prepared.ranges
    windows = len(training_starts(prepared))
    return [
        f"{len(panel.nodes)} countries x {len(panel.variables)} variables ({', '.join(panel.variables)}), {ranges.end} "
        f"days from {panel.index[0]:%Y-%m-%d}, cumulative; window {shape.window}, horizon {shape.horizon}; {windows} "
        f"training windows whose targets end before day {ranges.train_end}, one validation window (the next "
        f"{ranges.validation_end - ranges.train_end} days), one test window (the last {shape.horizon} days); counts, "
        "over all elements",
        "",
    ]


def training_starts(prepared: Prepared) -> range:
    return sample_starts(0, prepared.ranges.train_end, **lengths_of(prepared))


def lengths_of(prepared: Prepared) -> dict[str, int]:
    return {"window": prepared.shape.window, "horizon": prepared.shape.horizon}


def result_lines(rows: dict[str, list[Errors]]) -> list[str]:
    head = ["| model | MAE | RMSE | MSLE |", "| --- | ---: | ---: | ---: |"]
    ordered = sorted(rows.items(), key=lambda row: mean(each["mae"] for each in row[1]))
    return head + [f"| {name} | {' | '.join(spreads(found))} |" for name, found in ordered]


def choice_lines(tried: dict[Choice, Trial]) -> list[str]:
    head = [
        "| tried with seed 0 | validation MAE | best epoch | test MAE | test RMSE | test MSLE |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    ordered = sorted(tried.items(), key=lambda row: (list(NETWORKS).index(row[0].network), row[1].validation_mae))
    return head + [
        f"| {choice} | {trial.validation_mae:.0f} | {trial.best_epoch} | {' | '.join(spreads([trial.own]))} |"
        for choice, trial in ordered
    ]


def spreads(found: list[Errors]) -> list[str]:
    return [spread([errors[metric] for errors in found]) for metric in METRICS]


def spread(values: list[float]) -> str:
    digits = 0 if mean(values) >= 10 else 3
    around = f" ± {stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{mean(values):.{digits}f}{around}"


# ---------------------------------------------------------------- the paper's code, and its leak

WINDOW = 7  # as in the short runs of the authors' code that this is to be held against
RATE, CLIP = 1e-3, 10.0  # the paper's


def reference(seeds: int, epochs: int, folder: Path) -> str:
    """The paper's training on three scales; the last can't be a forecaster, so it runs on bare tensors."""
    spec = load_spec(SPEC)
    spec = spec.model_copy(update={"task": spec.task.model_copy(update={"window": WINDOW})})
    prepared = prepare_covid(spec)
    values = by_sample(prepared)
    by_step = leaky_scale(values, axis=2)
    honest, leaky = (
        [try_out(reference_spec(spec, how, seed, epochs), prepared, folder) for seed in range(seeds)]
        for how in ("training", "leaky")
    )
    held = held_share(prepared, values, by_step)
    lines = [
        *(f"| {name} | | | {' | '.join(spreads([honest[0].test[name]]))} |" for name in ("naive", "linear")),
        reference_row("training: each series by its largest until training ends", honest),
        reference_row("**leaky**: each series by its largest of all days", leaky),
        reference_row(
            "**leaky**: each country and day by its largest variable (the paper's default)",
            [by_step_trial(prepared, values, by_step, seed, epochs) for seed in range(seeds)],
        ),
        f"| **leaky**: the same scale and no network, the last day's shares held | | | {' | '.join(spreads([held]))} |",
    ]
    return "\n".join(
        [
            *shape_lines(prepared),
            f"| scale ({epochs} epochs) | best epochs | validation MAE | test MAE | test RMSE | test MSLE |",
            "| --- | ---: | ---: | ---: | ---: | ---: |",
            *lines,
        ]
    )


def reference_spec(spec: Spec, normalisation: str, seed: int, epochs: int) -> Spec:
    """All that is not named here is the paper's."""
    table = {"name": "regenn", "mode": "reference", "autoregression": True, "bias": True}
    training = Training(epochs=epochs, patience=epochs, learning_rate=RATE, gradient_clip=CLIP, seed=seed)
    evaluation = spec.evaluation.model_copy(update={"baselines": ["naive", "linear"]})
    model = RegennModel.model_validate({**table, "normalisation": normalisation})
    return spec.model_copy(update={"model": model, "training": training, "evaluation": evaluation})


def reference_row(name: str, trials: list[Trial]) -> str:
    epochs = ", ".join(str(trial.best_epoch) for trial in trials)
    validation = spread([trial.validation_mae for trial in trials])
    return f"| {name} | {epochs} | {validation} | {' | '.join(spreads([trial.own for trial in trials]))} |"


def by_sample(prepared: Prepared) -> Tensor:
    return prepared.series.values.transpose(0, 1).float().contiguous()  # [N, T, V]


def by_step_trial(prepared: Prepared, values: Tensor, scale: Scale, seed: int, epochs: int) -> Trial:
    """The best epoch by validation MAE, and its errors in the test days."""
    torch.manual_seed(seed)
    lengths, ranges = lengths_of(prepared), prepared.ranges
    model = RegennReference(RegennSettings(autoregression=True, bias=True), variables=values.shape[2], **lengths)
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE)

    def errors_before(end: int) -> Errors:
        start = end - sum(lengths.values())
        return ahead_errors(reference_forecast(model, values, scale, start=start, **lengths), values, end)

    trials = []
    for epoch in range(1, epochs + 1):
        train_epoch(model, values, scale, optimizer, starts=training_starts(prepared), clip=CLIP, **lengths)
        validation = errors_before(ranges.validation_end)["mae"]
        trials.append(Trial(validation, epoch, {"reference": errors_before(ranges.end)}))
    return min(trials, key=lambda trial: trial.validation_mae)


def held_share(prepared: Prepared, values: Tensor, scale: Scale) -> Errors:
    """Persistence on the scaled data: what the leak forecasts by itself."""
    end, horizon = prepared.ranges.end, prepared.shape.horizon
    last = scale.apply(values)[:, end - horizon - 1 : end - horizon]
    return ahead_errors(scale.undo(last, torch.arange(len(values)), slice(end - horizon, end)), values, end)


def ahead_errors(forecast: Tensor, values: Tensor, end: int) -> Errors:
    """Of forecasts [N, H, V] of the steps before `end`, over all elements."""
    found = errors_of(forecast.double(), values[:, end - forecast.shape[1] : end].double())
    return {metric: found[metric] for metric in METRICS}


# ---------------------------------------------------------------- speed

PAPER = RegennSettings(output="Identity")  # attention 2048 wide inside, dropout everywhere
LEAN = RegennSettings(output="Identity", feedforward=64, attention_dropout=0.0)  # what a spec builds by default
BATCH = 8  # windows in a step


def speed(repeats: int) -> str:
    return "\n".join([*epoch_lines(prepare_covid(load_spec(SPEC)), repeats), "", *size_lines(repeats)])


def epoch_lines(prepared: Prepared, repeats: int) -> list[str]:
    """All ways take turns, so that what else the machine does hits them alike."""
    networks = {
        "encoder 2048 (the paper's)": PAPER,
        "encoder 2048, fused attention": replace(PAPER, attention_dropout=0.0),
        "encoder 64, fused attention (as a spec builds it)": LEAN,
    }
    epochs = {name: (reference_epoch(prepared, each), default_epoch(prepared, each)) for name, each in networks.items()}
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


def reference_epoch(prepared: Prepared, settings: RegennSettings) -> Callable[[], object]:
    values, lengths = by_sample(prepared), lengths_of(prepared)
    model = RegennReference(settings, variables=values.shape[2], **lengths)
    scale, optimizer = training_scale(values, end=prepared.ranges.train_end), torch.optim.Adam(model.parameters())
    return lambda: train_epoch(model, values, scale, optimizer, starts=training_starts(prepared), **lengths)


def default_epoch(prepared: Prepared, settings: RegennSettings) -> Callable[[], object]:
    """Like the reference's, each series by its largest in training and the loss on counts, but many windows a step."""
    shape, lengths = prepared.shape, lengths_of(prepared)
    network = RegennForecaster(settings, PanelAxes("nodes", shape.nodes, shape.variables), **lengths)
    past = prepared.series.values[: prepared.ranges.train_end]
    learn_graph(network, past, torch.ones_like(past, dtype=torch.bool))
    top, optimizer = past.amax(0).clamp(min=1).float(), torch.optim.Adam(network.parameters())
    sampler = WindowSampler(prepared.series, torch.tensor(training_starts(prepared)), **lengths)

    def epoch() -> None:
        network.train()
        for batch in sampler.batches(BATCH, torch.randperm(len(sampler))):
            forecast = network(batch.x.float() / top, batch.mask, batch.calendar) * top
            error = (forecast - batch.y.float()).abs().mean()
            optimizer.zero_grad()
            error.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), CLIP)
            optimizer.step()

    return epoch


SAMPLES, GRAPH = (32, 256, 2048), 64  # samples N; variables V
STEPS = 14  # of window and of horizon


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
    network = RegennForecaster(LEAN, PanelAxes("nodes", samples, GRAPH), window=STEPS, horizon=STEPS)
    x = torch.rand(1, STEPS, samples, GRAPH)
    mask = torch.ones_like(x, dtype=torch.bool)
    network.set_graph(cooccurrence_graph(network.axes.as_samples(x[0]), network.axes.as_samples(mask[0])))

    def step() -> None:
        network.zero_grad()
        network(x, mask, torch.zeros(1, 2 * STEPS, 3)).square().mean().backward()

    return step


def gigaflops(samples: int) -> float:
    """Multiplications and additions of forward (1) and backward (2); fused attention redoes its scores (0.5)."""
    tokens, width, hidden = samples * GRAPH, STEPS, LEAN.feedforward or 0
    attention = 4 * tokens * samples * width * 3.5
    encoder = 2 * tokens * (4 * width * width + 2 * width * hidden)
    gate = 8 * tokens * STEPS * (width + STEPS)
    sequencer = 8 * samples * STEPS * GRAPH * 2 * GRAPH
    layers = 2 * samples * GRAPH * GRAPH * (2 * STEPS) + 2 * tokens * width * width
    return (attention + 3 * (encoder + gate + sequencer + layers)) / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["jhu", "reference", "speed"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=30, help="of each run of the paper's code")
    parser.add_argument("--repeats", type=int, default=3, help="of which the median time is taken")
    parser.add_argument("--threads", type=int, default=1)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    with tempfile.TemporaryDirectory() as folder:
        parts = {
            "jhu": lambda: jhu(chosen.seeds, Path(folder)),
            "reference": lambda: reference(chosen.seeds, chosen.epochs, Path(folder)),
            "speed": lambda: speed(chosen.repeats),
        }
        print(parts[chosen.part]())


if __name__ == "__main__":
    main()
