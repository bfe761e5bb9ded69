"""The linear yardstick in closed form: weights from the training range, form and penalty from validation."""

import itertools
from dataclasses import asdict

import torch
from torch import Tensor

from data.splits import Ranges, sample_starts
from data.windows import WindowSampler, observed_starts
from models.baselines import Ridge
from models.clock import CYCLIC_WIDTH
from models.filling import last_observed
from models.forecaster import Scaled, Scaler
from pipelines.prepare import Prepared
from pipelines.train import training_scaler
from pipelines.zoo import Shape

PENALTIES = (0.1, 1.0, 10.0, 100.0, 1000.0)
MOST_INPUTS = 3000  # of the joint form; its normal equations grow with the square
MOST_PRODUCTS = 50_000_000  # numbers in the normal equations of all nodes, 400 MB


def ridge_fits(shape: Shape) -> bool:
    """Whether the form in which each node reads its own window can be solved in memory."""
    return shape.nodes * (shape.window * shape.variables + CYCLIC_WIDTH + 1) ** 2 <= MOST_PRODUCTS


def fit_ridge(prepared: Prepared, ranges: Ranges) -> Scaled:
    """The form (own window or all windows) and the penalty with the best validation MAE."""
    shape = prepared.shape
    forms = (False, True) if shape.window * shape.nodes * shape.variables <= MOST_INPUTS else (False,)
    found = [_fit_form(prepared, ranges, joint) for joint in forms]
    return min(found, key=lambda pair: pair[0])[1]


def _fit_form(prepared: Prepared, ranges: Ranges, joint: bool) -> tuple[float, Scaled]:
    """The validation error of this form with its best penalty, and the model."""
    shape = prepared.shape
    scaler = training_scaler(prepared, ranges.train_end)
    sizes = {name: asdict(shape)[name] for name in ("window", "horizon", "nodes", "variables")}
    ridge = Ridge(**sizes, joint=joint)
    model = Scaled(ridge, scaler).eval()
    products, moments = _normal_equations(prepared, ranges, ridge, scaler)
    found = []
    for penalty, targets in itertools.product(PENALTIES, moments):
        ridge.weight = _solve(products, targets, penalty)
        found.append((_validation_error(model, prepared, ranges), ridge.weight))
    error, ridge.weight = min(found, key=lambda pair: pair[0])
    return error, model


def _normal_equations(prepared: Prepared, ranges: Ranges, ridge: Ridge, scaler: Scaler) -> tuple[Tensor, list[Tensor]]:
    """Z'Z [G, I, I] and Z'y [G, I, O], summed batch by batch so that no design matrix is ever whole.

    Z'y comes with a gap as no change and, where there are gaps, as if the observed share were all.
    """
    groups, inputs, outputs = ridge.weight.shape
    products = torch.zeros(groups, inputs, inputs, dtype=torch.float64)
    targets = torch.zeros(groups, inputs, outputs, dtype=torch.float64)
    observed = torch.zeros(groups, 1, outputs, dtype=torch.float64)
    sampler = _sampler(prepared, 0, ranges.train_end)
    for batch in sampler.batches(256):
        x = scaler.scale(batch.x) * batch.mask
        z = ridge.inputs(x, batch.mask, batch.calendar).double()  # [B, G, I]
        change = (scaler.scale(batch.y) - last_observed(x, batch.mask)) * batch.y_mask
        products += torch.einsum("bgi,bgj->gij", z, z)
        targets += torch.einsum("bgi,bgo->gio", z, ridge.together(change).double())
        observed += ridge.together(batch.y_mask).double().sum(0)[:, None]
    if bool((observed == len(sampler)).all()):
        return products, [targets]
    return products, [targets, targets * len(sampler) / observed.clamp(min=1)]


def _solve(products: Tensor, targets: Tensor, penalty: float) -> Tensor:
    return torch.linalg.solve(products + penalty * torch.eye(products.shape[-1], dtype=torch.float64), targets).float()


@torch.no_grad()
def _validation_error(ridge: Scaled, prepared: Prepared, ranges: Ranges) -> float:
    total, count = 0.0, 0
    for batch in _sampler(prepared, ranges.train_end, ranges.validation_end).batches(256):
        error = ridge.scaled(batch.x, batch.mask, batch.calendar) - ridge.scaler.scale(batch.y)
        total += float((error.abs() * batch.y_mask).sum())
        count += int(batch.y_mask.sum())
    return total / count


def _sampler(prepared: Prepared, first: int, last: int) -> WindowSampler:
    window, horizon = prepared.shape.window, prepared.shape.horizon
    candidates = sample_starts(first, last, window=window, horizon=horizon)
    starts = observed_starts(prepared.series, candidates, window=window, horizon=horizon)
    return WindowSampler(prepared.series, starts, window=window, horizon=horizon)
