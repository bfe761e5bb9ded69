"""ReGENN as the paper's code ran it, for people who compare with the paper.

Spadon et al., IEEE TPAMI 44(9), 2022, arXiv:2008.12833. The graph is a running sum over the first epoch's batches, the
target layer forecasts with the source graph of the last training step, and the loss is taken on the scale of the data.
Data are [N, T, V] here: N samples, T steps, V variables; a sample starts at every step.

`leaky_scale` reads the future, test steps included: the true maximum of a step to be forecast is multiplied into its
forecast. Numbers made with it must be called leaky; `training_scale` is the honest way.
"""

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.graph_evolution import cooccurrence
from models.regenn import EvolutionWeights, PanelAxes, Regenn, RegennSettings, evolution_weights

BLOCK = 32  # samples whose graphs are made apart and added up


def batch_graph(x: Tensor) -> Tensor:
    """The graph [V, V] of a batch [N, W, V]; what is not positive is absent. The loops depend on the blocks."""
    blocks = functional.pad(x, (0, 0, 0, 0, 0, -len(x) % BLOCK)).unflatten(0, (-1, BLOCK))  # zeros add nothing
    return cooccurrence(blocks, blocks > 0).sum(0)


class RegennReference(nn.Module):
    """A batch `x` [N, W, V] to [N, H, V]; `call` is the number of the optimizer step within its epoch.

    `graph` grows while training calls come in the order 0, 1, 2, ... for the first time and never after.
    """

    def __init__(self, settings: RegennSettings, *, window: int, horizon: int, variables: int) -> None:
        super().__init__()
        self.network = Regenn(settings, window=window, horizon=horizon, variables=variables)
        self.register_buffer("graph", torch.zeros(variables, variables))
        self.register_buffer("target_graph", torch.zeros(variables, variables))
        self.seen = 0  # not saved, as in the paper: training that goes on from a file adds to the graph

    graph: Tensor
    target_graph: Tensor

    @torch.no_grad()
    def remember(self, x: Tensor, *, grow: bool) -> None:
        """What a training call does to the graphs before it uses them."""
        if grow:
            self.graph = self.graph + batch_graph(x)
        self.target_graph = self.network.hidden_graph(self.graph)

    def forward(self, x: Tensor, call: int = 0) -> Tensor:
        if self.training:
            self.remember(x, grow=call == self.seen)
            self.seen += call == self.seen
        return self.network(x[None], self.graph, self.target_graph)[0]


class ReferenceForecaster(nn.Module):
    """The reference on a panel, as any other forecaster: `x`, `mask` [B, W, N, F] to [B, H, N, F].

    It knows no gaps: what was not observed is zero, and absent to the graph. The graph grows with the first
    `first_epoch` training calls; how many there were is saved, so that a run that was killed goes on as it would have.
    """

    def __init__(self, settings: RegennSettings, axes: PanelAxes, *, window: int, horizon: int) -> None:
        super().__init__()
        self.axes = axes
        self.reference = RegennReference(settings, window=window, horizon=horizon, variables=axes.size)
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))
        self.first_epoch = 0

    calls: Tensor

    @property
    def network(self) -> Regenn:
        return self.reference.network

    @property
    def graph(self) -> Tensor:
        return self.reference.graph

    def before_output(self, x: Tensor, mask: Tensor, calendar: Tensor) -> Tensor:
        """What the output activation is given, [B, H, N, F]."""
        samples = self.axes.as_samples(x * mask)  # [B, S, W, V]
        if self.training:
            self.reference.remember(samples.flatten(0, 1), grow=int(self.calls) < self.first_epoch)
            self.calls += 1
        graphs = self.reference.graph, self.reference.target_graph
        return self.axes.as_panel(self.network.before_output(samples, *graphs))

    def bound(self, before: Tensor) -> Tensor:
        """The output activation."""
        return self.network.output(before)

    def forward(self, x: Tensor, mask: Tensor, calendar: Tensor) -> Tensor:
        return self.bound(self.before_output(x, mask, calendar))

    def evolution_weights(self) -> EvolutionWeights:
        """As `models.regenn.evolution_weights`, of the graphs that forecasts are made with."""
        return evolution_weights(self.network, self.graph, self.reference.target_graph)


# ---------------------------------------------------------------- ranges


@dataclass(frozen=True)
class Starts:
    """First input steps of the windows: training, time validation, test."""

    train: range
    validation: int | None  # its target is `reserved` steps long
    test: int


def cut_starts(steps: int, *, window: int, horizon: int, reserved: int) -> Starts:
    """`reserved` steps before the last `horizon` are kept for validation; no two targets share a step."""
    if not 0 <= reserved <= horizon:
        raise ValueError(f"{reserved} steps are reserved for validation; it must be 0 to {horizon}, the horizon")
    needed = window + reserved + 2 * horizon
    if steps < needed:
        raise ValueError(
            f"window {window}, horizon {horizon} and {reserved} reserved steps need {needed} steps, not {steps}"
        )
    test = steps - window - horizon
    return Starts(range(steps - needed + 1), test - reserved if reserved else None, test)


# ---------------------------------------------------------------- scales


@dataclass(frozen=True)
class Scale:
    """Divides data [N, T, V] by `divisor`, whose axes of length 1 are shared, after log(1 + x) if `logarithm`."""

    divisor: Tensor
    logarithm: bool = False
    leaky: bool = False

    def apply(self, values: Tensor) -> Tensor:
        return (values.log1p() if self.logarithm else values) / self.divisor

    def undo(self, scaled: Tensor, samples: Tensor, steps: slice) -> Tensor:
        """Back to the data's scale, for `samples` [n] and the `steps` that `scaled` [n, H, V] is about."""
        divisor = self.divisor if self.divisor.shape[1] == 1 else self.divisor[:, steps]
        values = scaled * (divisor if len(divisor) == 1 else divisor[samples])
        return values.expm1() if self.logarithm else values


def leaky_scale(values: Tensor, kind: Literal["maximum", "logarithm", "linear"] = "maximum", axis: int = 2) -> Scale:
    """The paper's scales, over all of `values` [N, T, V]; `linear` leaves them alone and is the one that can't leak."""
    if kind == "linear":
        return Scale(torch.ones_like(values[:1, :1, :1]))
    logarithm = kind == "logarithm"
    seen = values.log1p() if logarithm else values
    return Scale(seen.amax(axis, keepdim=True).clamp(min=1), logarithm, leaky=True)


def training_scale(values: Tensor, *, end: int, logarithm: bool = False) -> Scale:
    """Each series by its own maximum before step `end`, at least 1."""
    past = values[:, :end]
    return Scale((past.log1p() if logarithm else past).amax(1, keepdim=True).clamp(min=1), logarithm)


# ---------------------------------------------------------------- training


def clip_gradients(parameters: Iterable[nn.Parameter], limit: float) -> Tensor:
    """Scale all gradients so that their norm is min(norm, `limit`), exactly; gives the norm from before."""
    gradients = [each.grad for each in parameters if each.grad is not None]
    norm = torch.stack([gradient.norm() for gradient in gradients]).norm()
    if norm > limit:
        for gradient in gradients:
            gradient.mul_(limit / norm)
    return norm


def train_epoch(
    model: RegennReference,
    values: Tensor,
    scale: Scale,
    optimizer: torch.optim.Optimizer,
    *,
    starts: range,
    window: int,
    horizon: int,
    batch_size: int = 32,
    clip: float = 10.0,
    generator: torch.Generator | None = None,
) -> float:
    """One step per group of samples and window, from the oldest window to the newest; the mean absolute error.

    The error is that before each step and on the data's scale, where the largest samples rule.
    """
    model.train()
    scaled = scale.apply(values)
    order = torch.randperm(len(values), generator=generator)
    groups = order.tensor_split(max(len(values) // batch_size, 1))
    errors = []
    for call, (group, start) in enumerate(itertools.product(groups, starts)):
        ahead = slice(start + window, start + window + horizon)
        forecast = scale.undo(model(scaled[group, start : start + window], call), group, ahead)
        error = (forecast - values[group, ahead]).abs().mean()
        optimizer.zero_grad()
        error.backward()
        clip_gradients(model.parameters(), clip)
        optimizer.step()
        errors.append(error.detach())
    return float(torch.stack(errors).mean())


@torch.no_grad()
def forecast_at(
    model: RegennReference, values: Tensor, scale: Scale, *, start: int, window: int, horizon: int
) -> Tensor:
    """The forecast [N, H, V] from the window that begins at `start`, of all samples as one batch."""
    model.eval()
    ahead = slice(start + window, start + window + horizon)
    scaled = scale.apply(values)[:, start : start + window]
    return scale.undo(model(scaled), torch.arange(len(values)), ahead)


# ---------------------------------------------------------------- metrics


def errors_of(forecast: Tensor, truth: Tensor) -> dict[str, float]:
    """The paper's six metrics over all elements; the logarithmic ones need forecasts above -1."""
    error, ratio = forecast - truth, forecast.log1p() - truth.log1p()
    pairs = {"mae": error, "male": ratio}, {"mse": error, "msle": ratio}
    found = {name: each.abs().mean() for name, each in pairs[0].items()}
    found |= {name: (each**2).mean() for name, each in pairs[1].items()}
    found |= {"rmse": found["mse"].sqrt(), "rmsle": found["msle"].sqrt()}
    return {name: float(value) for name, value in found.items()}


def averaged_errors(batches: Iterable[tuple[Tensor, Tensor]]) -> dict[str, float]:
    """The paper's way: the mean over batches of (forecast, truth), unweighted. Its RMSE is not that of all elements."""
    each = [errors_of(forecast, truth) for forecast, truth in batches]
    return {name: sum(errors[name] for errors in each) / len(each) for name in each[0]}
