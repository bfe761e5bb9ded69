"""The linear yardstick in closed form: its weights on the training range, its penalty on the validation range."""

import torch
from torch import Tensor

from data.splits import Ranges, sample_starts
from data.windows import WindowSampler, observed_starts
from models.baselines import Ridge, ridge_inputs
from models.filling import last_observed
from models.forecaster import Scaled, Scaler
from pipelines.prepare import Prepared

PENALTIES = (0.1, 1.0, 10.0, 100.0, 1000.0)


def fit_ridge(prepared: Prepared, ranges: Ranges) -> Scaled:
    """Least squares of the change from the last value on each node's own window, the penalty with the best MAE."""
    shape = prepared.shape
    scaler = Scaler(shape.nodes, shape.variables)
    scaler.fit(prepared.series.values[: ranges.train_end], prepared.series.mask[: ranges.train_end])
    ridge = Scaled(Ridge(shape.window, shape.horizon, shape.nodes, shape.variables), scaler)
    products, targets = _normal_equations(prepared, ranges, scaler)
    losses = []
    for penalty in PENALTIES:
        ridge.network.weight = _solve(products, targets, penalty)
        losses.append(_validation_error(ridge, prepared, ranges))
    ridge.network.weight = _solve(products, targets, PENALTIES[losses.index(min(losses))])
    return ridge.eval()


def _normal_equations(prepared: Prepared, ranges: Ranges, scaler: Scaler) -> tuple[Tensor, Tensor]:
    """Z'Z [N, I, I] and Z'y [N, I, H * F], summed batch by batch so that no design matrix is ever whole."""
    products: Tensor | float = 0.0
    targets: Tensor | float = 0.0
    for batch in _sampler(prepared, 0, ranges.train_end).batches(256):
        x = scaler.scale(batch.x) * batch.mask
        z = ridge_inputs(x, batch.mask, batch.calendar).double()  # [B, N, I]
        change = (scaler.scale(batch.y) - last_observed(x, batch.mask)) * batch.y_mask  # a gap counts as no change
        products = products + torch.einsum("bni,bnj->nij", z, z)
        targets = targets + torch.einsum("bni,bno->nio", z, change.transpose(1, 2).flatten(2).double())
    assert isinstance(products, Tensor) and isinstance(targets, Tensor)
    return products, targets


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
    lengths = {"window": prepared.shape.window, "horizon": prepared.shape.horizon}
    starts = observed_starts(prepared.series, sample_starts(first, last, **lengths), **lengths)
    return WindowSampler(prepared.series, starts, **lengths)
