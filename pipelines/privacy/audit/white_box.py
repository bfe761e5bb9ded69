"""A check of the private step itself: one canary a coordinate, and the noised sums are read.

Nasr et al., Tight Auditing of Differentially Private Machine Learning, arXiv:2302.07956, and one training run as in
`bound`. m coordinates that nothing else touches stand for m canaries. Whoever is in and sampled has a gradient along
its own coordinate only, longer than the clipping norm C, which a right step cuts to C. Summed over T steps at rate q
and noise σC a canary's score is normal with mean qTC and variance T(σ² + q(1 - q))C² if it is in, with mean 0 and
variance Tσ²C² if it is not. Needs no model: anything that clips, sums and adds noise can be checked.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pipelines.privacy.audit.bound import correct_guesses
from pipelines.privacy.audit.design import Design, Outcome, hash_of_seed, judge
from pipelines.privacy.mechanisms import Unit

NoisedSum = Callable[[Tensor], Tensor]  # per-sample gradients [B, m] -> clipped, summed and noised [m]; B may be 0
EXCESS = 10.0  # a canary's gradient is so many clipping norms long: a step that does not clip shows


def audit_step(
    noised_sum: NoisedSum,
    *,
    claim: float,
    delta: float,
    max_grad_norm: float,
    sample_rate: float,
    steps: int,
    canaries: int = 1000,
    guesses: int = 200,
    windows_per_unit: int = 1,
    seed: int,
) -> Outcome:
    """Whether `steps` calls of `noised_sum` refute the `claim`ed epsilon of one sample at `delta`.

    With `windows_per_unit` above 1 the claim is about a slot, which is in so many samples, each drawn by itself.
    `noised_sum` must not divide by the batch size. The seed draws coins and samples only, not the step's noise.
    """
    unit: Unit = "window" if windows_per_unit == 1 else "slot"
    design = step_design(unit=unit, canaries=canaries, guesses=guesses, delta=delta, seed=seed)
    included, scores = step_scores(
        noised_sum,
        canaries=canaries,
        max_grad_norm=max_grad_norm,
        sample_rate=sample_rate,
        steps=steps,
        windows_per_unit=windows_per_unit,
        seed=seed,
    )
    return judge(design, correct_guesses(scores, included, r=guesses), claim=claim)


def step_design(*, unit: Unit, canaries: int, guesses: int, delta: float, seed: int) -> Design:
    return Design(
        unit=unit,
        canaries=canaries,
        guesses=guesses,
        delta=delta,
        score="sum over all steps of the canary's own coordinate of the noised sum",
        seed_hash=hash_of_seed(seed),
        canary_hash=hash_of_seed(seed),  # a canary is its coordinate's number
        kind="white-box",
    )


def step_scores(
    noised_sum: NoisedSum,
    *,
    canaries: int,
    max_grad_norm: float,
    sample_rate: float,
    steps: int,
    windows_per_unit: int = 1,
    seed: int,
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.float64]]:
    """Which canaries were in and the score of each: [m], [m]."""
    rng = np.random.default_rng(seed)
    included = rng.random(canaries) < 0.5
    total = torch.zeros(canaries, dtype=torch.float64)
    for _ in range(steps):
        drawn = included * rng.binomial(windows_per_unit, sample_rate, canaries)  # samples of each canary
        sampled = np.repeat(np.arange(canaries), drawn)
        gradients = torch.zeros(len(sampled), canaries)  # [B, m]
        gradients[torch.arange(len(sampled)), torch.from_numpy(sampled)] = EXCESS * max_grad_norm
        total += noised_sum(gradients).detach().double()
    return included, total.numpy()
