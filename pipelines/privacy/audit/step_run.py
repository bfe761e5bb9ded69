"""Audit the private step of a spec by itself: no data, no network, some seconds.

The step is the one that trains, with its noise, its clipping and the random source of production, as many times as the
spec takes it. What it is given are canary gradients, and what it does to the parameters is read coordinate by
coordinate. Which windows are drawn is not part of it.
"""

import torch
from torch import Tensor, nn

from data.dataset import DataSet
from models.clipped_sum import Way
from models.sample_check import WAYS
from models.window_losses import WindowLosses
from pipelines.prepare import prepare
from pipelines.privacy.audit.booking import audited
from pipelines.privacy.audit.bound import correct_guesses
from pipelines.privacy.audit.design import judge
from pipelines.privacy.audit.report import Report
from pipelines.privacy.audit.white_box import NoisedSum, step_design, step_scores
from pipelines.privacy.audit.window_audit import new_seed
from pipelines.privacy.mechanisms import PrivateTraining
from pipelines.privacy.private_network import gradient_way, private_network
from pipelines.privacy.private_step import PrivateStep
from pipelines.privacy.randomness import SystemRandomness
from pipelines.privacy.training_plan import plan_training
from pipelines.spec import Spec
from pipelines.train import LOSSES


class Coordinates(nn.Module):
    """Losses whose gradient with respect to `weight` [m] is what it is called with: [B, m] -> [B]."""

    def __init__(self, canaries: int) -> None:
        super().__init__()
        self.along = nn.Linear(canaries, 1, bias=False)
        nn.init.zeros_(self.along.weight)

    def forward(self, gradients: Tensor) -> Tensor:
        return self.along(gradients)[:, 0]


def noised_sums(mechanism: PrivateTraining, way: Way, *, canaries: int) -> NoisedSum:
    """What a step adds to the parameters: a step of SGD at rate 1 with a divisor of 1 is the noised sum itself."""
    losses = Coordinates(canaries)
    sgd = torch.optim.SGD(losses.parameters(), lr=1.0)
    step = PrivateStep(losses, sgd, mechanism, way, SystemRandomness(), expected=1.0)

    def noised_sum(gradients: Tensor) -> Tensor:
        nn.init.zeros_(losses.along.weight)
        step([[gradients]] if len(gradients) else [])
        return -losses.along.weight.detach()[0]

    return noised_sum


def audit_private_step(spec: Spec, dataset: DataSet, *, canaries: int, guesses: int) -> Report:
    """A bound by the step's own sums. Of the data only their length counts, which is public."""
    prepared = prepare(spec, dataset)
    plan = plan_training(spec, prepared, prepared.ranges)
    losses = WindowLosses(private_network(spec, prepared), LOSSES[spec.training.loss])
    way = WAYS[gradient_way(losses, prepared.shape)]
    seed, book, mechanism = new_seed(), audited(spec, claimed=plan.claim.sentence), plan.mechanism
    design = step_design(unit=plan.claim.unit, canaries=canaries, guesses=guesses, delta=plan.claim.delta, seed=seed)
    book.design(design)
    included, scores = step_scores(
        noised_sums(mechanism, way, canaries=canaries),
        canaries=canaries,
        max_grad_norm=mechanism.max_grad_norm,
        sample_rate=mechanism.sample_rate,
        steps=mechanism.steps,
        windows_per_unit=mechanism.group_size,
        seed=seed,
    )
    outcome = judge(design, correct_guesses(scores, included, r=guesses), claim=plan.claim.epsilon)
    book.result(outcome)
    return Report(spec.name, "step", book.run_id, book.claimed, (outcome,))
