"""Whether gradients are those of whole samples: asked of the network itself, on made-up samples, before data is read.

A way to sum clipped gradients is believed where it agrees with the loop. Libraries that find "the sample" in the first
axis of each layer's input fail here where nodes are folded into the batch or steps come first: one sample then weighs
more than its norm is allowed to.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from models.clipped_sum import ClippedSum, Way, looped_sum, tapped_sum, trainable, vmapped_sum
from models.forecaster import Penalised

TOLERANCE = 1e-4  # of a sum's norm: what the order of additions may do in single precision
CLIPPING_TOLERANCE = 1e-3
WAYS: dict[str, Way] = {"taps": tapped_sum, "vmap": vmapped_sum, "loop": looped_sum}  # the fastest first
CANNOT = (RuntimeError, ValueError, TypeError, NotImplementedError)  # what a way raises that can't run a network


def fastest_way(losses: nn.Module, samples: Sequence[Tensor]) -> str:
    """The first of `WAYS` that agrees with the loop on `samples`, at weights that are nowhere zero.

    Raises ValueError where no way is right: statistics over samples, or a sample whose loss depends on its neighbours.
    """
    refuse_shared_statistics(losses)
    if any(isinstance(part, Penalised) for part in losses.modules()):
        return "loop"  # what is added to the loss is estimated at random, so that no two ways could be compared
    with trial(losses):
        refuse_coupled(losses, samples)
        for name, way in WAYS.items():
            if why_not(way, losses, samples) is None:
                return name
    raise ValueError("the network has no gradient of a single sample that could be clipped")


def why_not(way: Way, losses: nn.Module, samples: Sequence[Tensor]) -> str | None:
    """What is wrong with `way` on this network; None if it sums what the loop does, and no sample exceeds its norm."""
    norms = looped_sum(losses, samples, 1.0).norms
    half = float(norms.median())  # clips about every second sample
    for max_grad_norm in (half, half / 100):
        right = looped_sum(losses, samples, max_grad_norm)
        try:
            found = way(losses, samples, max_grad_norm)
            alone = [way(losses, [part[:1] for part in samples], max_grad_norm)]
        except CANNOT as error:
            return f"it can't run the network: {error}"
        if (problem := _disagreement(found, right)) is not None:
            return problem
        largest = max(float(_norm(each.gradients)) for each in alone)
        if not largest <= max_grad_norm * (1 + CLIPPING_TOLERANCE):
            return f"one sample weighs {largest / max_grad_norm:.3g} times the clipping norm"
    return None


def refuse_shared_statistics(network: nn.Module) -> None:
    """Raises ValueError for batch norm and the like, whose output for a sample depends on the others."""
    for name, part in network.named_modules():
        if isinstance(part, _BatchNorm) or getattr(part, "track_running_stats", False):
            raise ValueError(
                f"{name} ({type(part).__name__}) keeps statistics over the samples of a batch, so that no gradient is "
                "of one sample alone; use layer or group norm"
            )


def refuse_coupled(losses: nn.Module, samples: Sequence[Tensor]) -> None:
    """Raises ValueError where the loss of a sample is another one in company, or a forward pass leaves its trace."""
    before = {name: value.clone() for name, value in losses.named_buffers()}
    with torch.no_grad():
        together = losses(*samples)
        alone = torch.cat([losses(*(part[row : row + 1] for part in samples)) for row in range(len(together))])
    if together.shape != alone.shape or not torch.allclose(together, alone, rtol=1e-3, atol=1e-4):
        raise ValueError(
            "a sample's loss depends on which other samples share its batch, so that no gradient is of one sample alone"
        )
    changed = [name for name, value in losses.named_buffers() if not torch.equal(value, before[name])]
    if changed:
        raise ValueError(f"{changed[0]} changes as samples pass; what it keeps of them is in no gradient")


@contextmanager
def trial(network: nn.Module) -> Iterator[None]:
    """While it is open, `network` trains without dropout at weights that are nowhere zero; then all is as before.

    Layers that start at zero would hide what is wrong with those before them.
    """
    weights = [p.detach().clone() for p in trainable(network).values()]
    shares = [(part, name, getattr(part, name)) for part, name in _dropouts(network)]
    was_training = network.training
    generator = torch.Generator().manual_seed(0)
    try:
        for part, name, _ in shares:
            setattr(part, name, 0.0)
        with torch.no_grad():
            for p in trainable(network).values():
                p.add_(0.1 * torch.randn(p.shape, generator=generator).to(p.device))
        network.train()
        yield
    finally:
        network.train(was_training)
        for part, name, share in shares:
            setattr(part, name, share)
        with torch.no_grad():
            for p, weight in zip(trainable(network).values(), weights, strict=True):
                p.copy_(weight)


def _dropouts(network: nn.Module) -> Iterator[tuple[nn.Module, str]]:
    for part in network.modules():
        if isinstance(part, nn.modules.dropout._DropoutNd):
            yield part, "p"
        elif isinstance(part, nn.RNNBase | nn.MultiheadAttention):
            yield part, "dropout"


def _disagreement(found: ClippedSum, right: ClippedSum) -> str | None:
    if found.norms.shape != right.norms.shape:
        return f"it finds {len(found.norms)} samples where there are {len(right.norms)}"
    apart = _norm([f - r for f, r in zip(found.gradients, right.gradients, strict=True)])
    if not apart <= TOLERANCE * _norm(right.gradients):
        return f"its clipped sum is {float(apart / _norm(right.gradients)):.2g} of its norm away from the loop's"
    return None


def _norm(gradients: Sequence[Tensor]) -> Tensor:
    return torch.stack([g.norm() for g in gradients]).norm()
