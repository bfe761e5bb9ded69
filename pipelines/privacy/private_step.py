"""One step of DP-SGD: clipped sums of windows, noise once, division by a constant, and counters that prove it.

Abadi et al., Deep Learning with Differential Privacy, arXiv:1607.00133, algorithm 1. Opacus takes the step: its
optimizer adds up the chunks of a batch, adds the noise, divides and calls the optimizer within. What it is given are
sums that were clipped before, as in its ghost clipping, and noise from the operating system.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from opacus.optimizers import DPOptimizerFastGradientClipping
from opacus.optimizers.optimizer import _check_processed_flag, _mark_as_processed
from torch import Tensor, nn
from torch.optim import Optimizer

from models.clipped_sum import Way, nothing, trainable
from pipelines.errors import PrivacyError
from pipelines.privacy.mechanisms import PrivateTraining
from pipelines.privacy.randomness import Randomness

Chunk = Sequence[Tensor]  # the parts of some windows, row by row


class NoisedOptimizer(DPOptimizerFastGradientClipping):  # type: ignore[misc]
    """Opacus' optimizer for gradients that are clipped already, with its noise drawn from `randomness` and counted."""

    def __init__(self, optimizer: Optimizer, randomness: Randomness, **settings: Any) -> None:
        super().__init__(optimizer, **settings)
        self.randomness, self.draws = randomness, 0

    def accumulate(self) -> None:
        """Adds up in the first chunk's own sum, which nothing else reads; Opacus' way is a deep copy of it."""
        for p in self.params:
            p.summed_grad = p.grad if p.summed_grad is None else p.summed_grad.add_(p.grad)

    def add_noise(self) -> None:
        """One draw for all parameters, of standard deviation `noise_multiplier` times `max_grad_norm`."""
        std = self.noise_multiplier * self.max_grad_norm
        noise = self.randomness.normal(sum(p.numel() for p in self.params)).mul_(std)
        for p, part in zip(self.params, noise.split([p.numel() for p in self.params]), strict=True):
            _check_processed_flag(p.summed_grad)
            p.grad = p.summed_grad + part.view_as(p).to(p)
            _mark_as_processed(p.summed_grad)
        self.draws += 1


class PrivateStep:
    """Takes steps on the `losses` of windows (`models.window_losses`) as the `mechanism` says, and no more of them.

    `expected` is the divisor: how many windows a step has on average, not how many were drawn. Raises PrivacyError for
    what bounds or hides nothing.
    """

    def __init__(
        self,
        losses: nn.Module,
        optimizer: Optimizer,
        mechanism: PrivateTraining,
        way: Way,
        randomness: Randomness,
        *,
        expected: float,
    ) -> None:
        if not 0 < mechanism.noise_multiplier < math.inf or not 0 < mechanism.max_grad_norm < math.inf:
            raise PrivacyError(
                f"a step with noise {mechanism.noise_multiplier} and clipping norm "
                f"{mechanism.max_grad_norm} protects nobody; a run without privacy has no [privacy]"
            )
        self.losses, self.mechanism, self.way = losses, mechanism, way
        self.parameters = list(trainable(losses).values())
        _refuse_others(optimizer, self.parameters)
        self.optimizer = NoisedOptimizer(
            optimizer,
            randomness,
            noise_multiplier=mechanism.noise_multiplier,
            max_grad_norm=mechanism.max_grad_norm,
            expected_batch_size=expected,
            loss_reduction="mean",
        )
        self.taken = 0

    def __call__(self, chunks: Iterable[Chunk]) -> None:
        """One step on all windows of `chunks` together; there may be none."""
        if self.taken >= self.mechanism.steps:
            raise PrivacyError(f"{self.mechanism.steps} steps were paid for, and this would be one more")
        self.optimizer.zero_grad(set_to_none=True)
        sums = (self.way(self.losses, chunk, self.mechanism.max_grad_norm) for chunk in chunks)
        self._give((next(sums, None) or nothing(self.parameters)).gradients)
        for more in sums:
            self.optimizer.signal_skip_step(do_skip=True)  # not yet: this is a part of the batch
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
            self._give(more.gradients)
        self.optimizer.signal_skip_step(do_skip=False)
        self.optimizer.step()
        self.taken += 1

    def _give(self, gradients: Sequence[Tensor]) -> None:
        for p, gradient in zip(self.parameters, gradients, strict=True):
            p.grad = gradient

    def prove(self, charged: int) -> None:
        """Raises PrivacyError unless noise was drawn once for every step, and every step was charged."""
        if not self.optimizer.draws == self.taken == charged:
            raise PrivacyError(
                f"{self.taken:,} steps were taken, noise was drawn {self.optimizer.draws:,} times and {charged:,} "
                "steps were charged; these must be equal, so what was trained is not what is promised"
            )


def _refuse_others(optimizer: Optimizer, parameters: Sequence[nn.Parameter]) -> None:
    """A parameter that is trained without its gradient being clipped and noised would be a leak."""
    held = {p for group in optimizer.param_groups for p in group["params"] if p.requires_grad}
    if held != set(parameters):
        raise PrivacyError(
            f"the optimizer holds {len(held)} parameters and the network trains {len(parameters)}; they must be the "
            "same"
        )


Take = Callable[[Tensor], Chunk]


def in_chunks(rows: Tensor, size: int, take: Take) -> Iterable[Chunk]:
    """The windows at `rows`, at most `size` in memory at a time."""
    return (take(part) for part in rows.split(size) if len(part))
