"""The check of the private step passes a right step and catches one that does not clip or adds too little noise."""

import numpy as np
import pytest
import torch
from torch import Tensor

from pipelines.privacy.accounting import epsilon
from pipelines.privacy.audit.white_box import EXCESS, NoisedSum, audit_step, step_scores
from pipelines.privacy.mechanisms import PrivateTraining

CLIP, RATE, STEPS = 0.1, 0.082, 486
CLAIMS = {4.0: 2.10, 8.0: 0.97}  # noise multiplier: window epsilon at delta 1e-6 for RATE and STEPS


def private_step(*, noise_multiplier: float, clips: bool = True, seed: int = 0) -> NoisedSum:
    """The steps 4 and 5 of DP-SGD written out."""
    generator = torch.Generator().manual_seed(seed)

    def noised_sum(gradients: Tensor) -> Tensor:
        factors = (CLIP / (gradients.norm(dim=1) + 1e-6)).clamp(max=1) if clips else torch.ones(len(gradients))
        noise = torch.randn(gradients.shape[1], generator=generator) * noise_multiplier * CLIP
        return factors @ gradients + noise

    return noised_sum


def _audit(noised_sum: NoisedSum, *, claim: float, seed: int = 3):
    return audit_step(noised_sum, claim=claim, delta=1e-6, max_grad_norm=CLIP, sample_rate=RATE, steps=STEPS, seed=seed)


@pytest.mark.parametrize("sigma", CLAIMS)
@pytest.mark.parametrize("seed", range(3))
def test_a_right_step_is_not_refuted(sigma, seed):
    outcome = _audit(private_step(noise_multiplier=sigma, seed=seed), claim=CLAIMS[sigma], seed=seed)
    assert outcome.verdict == "consistent"


@pytest.mark.parametrize("sigma", CLAIMS)
@pytest.mark.parametrize("seed", range(3))
def test_a_quarter_of_the_noise_is_caught(sigma, seed):
    outcome = _audit(private_step(noise_multiplier=sigma / 4, seed=seed), claim=CLAIMS[sigma], seed=seed)
    assert outcome.verdict == "violated"


def test_a_step_that_does_not_clip_is_caught():
    outcome = _audit(private_step(noise_multiplier=4.0, clips=False), claim=CLAIMS[4.0])
    assert outcome.verdict == "violated"


def test_the_epsilon_of_a_window_shown_as_that_of_a_slot_is_caught_and_the_slots_own_is_not():
    """A slot is in 7 windows: at noise multiplier 8 its epsilon is 8.5, not 0.97."""
    step = {"delta": 1e-6, "max_grad_norm": CLIP, "sample_rate": RATE, "steps": STEPS, "windows_per_unit": 7, "seed": 3}
    shown = audit_step(private_step(noise_multiplier=8.0), claim=CLAIMS[8.0], **step)
    assert shown.design.unit == "slot"
    assert shown.verdict == "violated"
    mechanism = PrivateTraining(8.0, RATE, STEPS, CLIP, group_size=7)
    own = epsilon([mechanism], delta=1e-6)
    assert own > 8
    assert audit_step(private_step(noise_multiplier=8.0), claim=own, **step).verdict != "violated"


def test_the_scores_have_the_mean_and_variance_of_the_theory():
    """5,000 canaries each: standard errors are 1.4 % of a standard deviation for a mean, 1 % for a deviation."""
    sigma, m = 4.0, 10_000
    included, scores = step_scores(
        private_step(noise_multiplier=sigma), canaries=m, max_grad_norm=CLIP, sample_rate=RATE, steps=100, seed=1
    )
    inside, outside = scores[included] / CLIP, scores[~included] / CLIP
    deviation = np.sqrt(100) * sigma
    assert outside.mean() == pytest.approx(0, abs=4 * 0.0142 * deviation)
    assert inside.mean() == pytest.approx(100 * RATE, abs=4 * 0.0142 * deviation)
    assert outside.std() == pytest.approx(deviation, rel=0.04)
    assert inside.std() == pytest.approx(np.sqrt(100 * (sigma**2 + RATE * (1 - RATE))), rel=0.04)


def test_every_step_is_taken_also_on_an_empty_batch_and_gradients_are_too_long():
    seen: list[Tensor] = []

    def recorded(gradients: Tensor) -> Tensor:
        seen.append(gradients)
        return torch.randn(gradients.shape[1])

    step_scores(recorded, canaries=20, max_grad_norm=CLIP, sample_rate=0.01, steps=50, seed=0)
    assert len(seen) == 50
    assert any(len(batch) == 0 for batch in seen)
    assert all((batch.norm(dim=1) == pytest.approx(EXCESS * CLIP)) for batch in seen if len(batch))
