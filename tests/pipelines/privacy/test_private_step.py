"""What one private step weighs, hides and divides by, and that it can prove so."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from models.clipped_sum import ClippedSum, tapped_sum, vmapped_sum
from pipelines.errors import PrivacyError
from pipelines.privacy.accounting import epsilon
from pipelines.privacy.audit.white_box import audit_step
from pipelines.privacy.mechanisms import PrivateTraining
from pipelines.privacy.private_step import NoisedOptimizer, PrivateStep, in_chunks
from pipelines.privacy.randomness import SeededRandomness, SystemRandomness
from pipelines.privacy.window_sampling import PoissonSampler, TilingSampler, make_sampler

C = 0.5


class Affine(nn.Module):
    """One loss a row; 10,100 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(100, 100)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x).square().sum(1)


class Dummies(nn.Module):
    """m coordinates, of which the loss of a row is the product with the row: its gradient is the row itself."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.coordinates = nn.Parameter(torch.zeros(count))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.coordinates


def plain(losses: nn.Module, batch: Sequence[Tensor], max_grad_norm: float) -> ClippedSum:
    """The sum without clipping: a planted bug."""
    return vmapped_sum(losses, batch, 1e12)


def make_step(
    losses: nn.Module,
    *,
    noise: float = 1e-9,
    steps: int = 1000,
    way: Callable[..., ClippedSum] = vmapped_sum,
    seed: int = 0,
    expected: float = 1.0,
) -> PrivateStep:
    """On plain descent at rate 1, so that a step is the noised mean itself."""
    mechanism = PrivateTraining(noise, sample_rate=0.1, steps=steps, max_grad_norm=C)
    optimizer = torch.optim.SGD(losses.parameters(), lr=1.0)
    return PrivateStep(losses, optimizer, mechanism, way, SeededRandomness(seed), expected=expected)


def moved(step: PrivateStep, chunks: Sequence[Sequence[Tensor]]) -> Tensor:
    """What one step takes off the parameters, flat."""
    before = nn.utils.parameters_to_vector(step.parameters).detach().clone()
    step(chunks)
    return before - nn.utils.parameters_to_vector(step.parameters).detach()


def test_one_window_moves_the_weights_by_no_more_than_the_clipping_norm_over_the_divisor() -> None:
    torch.manual_seed(0)
    for scale in (1.0, 1e6):
        for way in (tapped_sum, vmapped_sum):
            step = make_step(Affine(), way=way, expected=8.0)
            assert float(moved(step, [[scale * torch.randn(1, 100)]]).norm()) <= C / 8 * (1 + 1e-3)


def test_a_step_without_clipping_is_seen_to_move_further() -> None:
    torch.manual_seed(0)
    assert float(moved(make_step(Affine(), way=plain), [[torch.randn(1, 100)]]).norm()) > 2 * C


@pytest.mark.parametrize("noise", [0.7, 4.0])
def test_noise_has_the_standard_deviation_that_is_accounted_for(noise: float) -> None:
    """Within 1 %: four standard errors of 200 draws of 10,100 numbers are 0.2 %."""
    network = Affine()
    step = make_step(network, noise=noise, expected=8.0)
    drawn = torch.stack([moved(step, []) for _ in range(200)]) * 8
    assert float(drawn.double().std()) == pytest.approx(noise * C, rel=0.01)
    assert abs(float(drawn.double().mean())) < 4 * noise * C / drawn.numel() ** 0.5


@pytest.mark.parametrize("share", [0.5, 0.25])
def test_too_little_noise_does_not_pass_that_test(share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    right = NoisedOptimizer.__init__

    def less(self: NoisedOptimizer, optimizer: Any, randomness: Any, **settings: Any) -> None:
        right(self, optimizer, randomness, **{**settings, "noise_multiplier": share * settings["noise_multiplier"]})

    monkeypatch.setattr(NoisedOptimizer, "__init__", less)
    drawn = torch.stack([moved(make_step(Affine(), noise=1.0, seed=seed), []) for seed in range(20)])
    assert float(drawn.std()) != pytest.approx(C, rel=0.01)


def test_a_noised_step_differs_from_one_without_noise_by_noise_alone() -> None:
    torch.manual_seed(0)
    network, x = Affine(), torch.randn(5, 100)
    weights = {name: value.clone() for name, value in network.state_dict().items()}
    quiet = moved(make_step(network), [[x]])
    network.load_state_dict(weights)
    noised = moved(make_step(network, noise=2.0, seed=3), [[x]])
    assert float((noised - quiet).double().std()) == pytest.approx(2.0 * C, rel=0.03)  # of 10,100 numbers: 4 s.e.


def test_the_divisor_is_the_expected_batch_whatever_was_drawn() -> None:
    torch.manual_seed(0)
    rows = torch.randn(3, 50)
    for drawn in (1, 3):
        found = moved(make_step(Dummies(50), expected=7.0), [[rows[:drawn]]])
        right = sum(C * row / row.norm() for row in rows[:drawn]) / 7
        torch.testing.assert_close(found, right, rtol=1e-4, atol=1e-7)


def test_a_batch_in_chunks_is_one_step_with_one_draw_of_noise() -> None:
    torch.manual_seed(0)
    x, network = torch.randn(10, 50), Dummies(50)
    step = make_step(network, noise=1.0)
    whole = moved(step, [[x]])
    parts = moved(make_step(Dummies(50), noise=1.0), list(in_chunks(torch.arange(10), 3, lambda rows: [x[rows]])))
    torch.testing.assert_close(parts, whole, rtol=1e-4, atol=1e-6)
    assert (step.taken, step.optimizer.draws) == (1, 1)


def test_an_empty_batch_is_a_step_of_noise_that_counts() -> None:
    step = make_step(Affine(), noise=1.0)
    assert float(moved(step, []).norm()) > 0
    step.prove(1)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_window_without_a_finite_gradient_moves_nothing(bad: float) -> None:
    torch.manual_seed(0)
    x = torch.randn(4, 100)
    network = Affine()
    weights = {name: value.clone() for name, value in network.state_dict().items()}
    without = moved(make_step(network), [[x[1:]]])
    network.load_state_dict(weights)
    x[0, 7] = bad
    torch.testing.assert_close(moved(make_step(network), [[x]]), without, rtol=1e-4, atol=1e-6)


def test_draws_steps_and_charges_must_be_equal(monkeypatch: pytest.MonkeyPatch) -> None:
    step = make_step(Affine(), noise=1.0)
    for _ in range(3):
        step([])
    step.prove(3)
    with pytest.raises(PrivacyError, match="3 steps were taken, noise was drawn 3 times and 2 steps were charged"):
        step.prove(2)


def test_a_step_whose_noise_was_skipped_fails_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    right = NoisedOptimizer.add_noise

    def sometimes(optimizer: NoisedOptimizer) -> None:
        if optimizer.draws < 2:
            return right(optimizer)
        for p in optimizer.params:
            p.grad = p.summed_grad
        return None

    monkeypatch.setattr(NoisedOptimizer, "add_noise", sometimes)
    step = make_step(Affine(), noise=1.0)
    for _ in range(3):
        step([])
    with pytest.raises(PrivacyError, match="noise was drawn 2 times"):
        step.prove(3)


def test_no_more_steps_are_taken_than_were_paid_for() -> None:
    step = make_step(Affine(), steps=1)
    step([])
    with pytest.raises(PrivacyError, match="one more"):
        step([])


def test_a_parameter_that_the_optimizer_trains_beside_the_step_is_refused() -> None:
    network = Affine()
    other = nn.Parameter(torch.zeros(3))
    mechanism = PrivateTraining(1.0, 0.1, 10, C)
    optimizer = torch.optim.SGD([*network.parameters(), other], lr=1.0)
    with pytest.raises(PrivacyError, match="must be the same"):
        PrivateStep(network, optimizer, mechanism, vmapped_sum, SeededRandomness(0), expected=1.0)


@pytest.mark.parametrize(("noise", "norm"), [(0.0, 1.0), (1.0, float("inf")), (1.0, 0.0)])
def test_noise_of_zero_and_a_norm_without_end_are_no_mechanism(noise: float, norm: float) -> None:
    with pytest.raises(ValueError, match=r"protects nobody|bounds nothing"):
        PrivateTraining(noise, 0.1, 10, norm)


# ---------------------------------------------------------------- sampling


@pytest.mark.parametrize("randomness", [SeededRandomness(0), SystemRandomness()], ids=["seeded", "system"])
def test_every_window_is_in_a_poisson_sample_as_often_as_accounted_for(
    randomness: SeededRandomness | SystemRandomness,
) -> None:
    """Each within 4.5 standard errors (of 40 windows one in 4,000 runs would not be), and all together too."""
    sampler, draws = PoissonSampler(40, 0.1), 4000
    seen = torch.zeros(40)
    for _ in range(draws):
        seen[sampler.draw(randomness)] += 1
    error = (draws * 0.1 * 0.9) ** 0.5
    assert float((seen - draws * 0.1).abs().max()) < 4.5 * error
    assert abs(float(seen.sum()) - 40 * draws * 0.1) < 4 * error * 40**0.5


def test_the_size_of_a_poisson_sample_varies_and_may_be_zero() -> None:
    randomness, sampler = SeededRandomness(0), PoissonSampler(10, 0.1)
    sizes = torch.tensor([float(len(sampler.draw(randomness))) for _ in range(3000)])
    assert float((sizes == 0).float().mean()) == pytest.approx(0.9**10, abs=4 * 0.0087)
    assert float(sizes.var()) == pytest.approx(10 * 0.1 * 0.9, rel=0.15)
    assert sampler.expected == pytest.approx(1.0)


def test_tiles_of_a_step_never_share_a_slot_and_all_windows_have_their_turn() -> None:
    randomness, sampler = SeededRandomness(0), make_sampler("tiling", windows=60, batch_size=4, span=7)
    assert isinstance(sampler, TilingSampler)
    assert sampler.sample_rate == pytest.approx(4 * 7 / 60)
    seen, sizes = torch.zeros(60), []
    for _ in range(3000):
        drawn = sampler.draw(randomness)
        assert len(drawn) < 2 or int(drawn.diff().min()) >= 7
        seen[drawn] += 1
        sizes.append(len(drawn))
    rate = sampler.sample_rate / 7
    assert float((seen / 3000 - rate).abs().max()) < 4.5 * (rate / 3000) ** 0.5
    assert sum(sizes) / 3000 == pytest.approx(sampler.expected, rel=0.05)
    assert sampler.expected == pytest.approx(4.0)


def test_a_step_larger_than_what_there_is_to_draw_from_is_refused() -> None:
    with pytest.raises(ValueError, match="can't be drawn from 3"):
        make_sampler("poisson", windows=3, batch_size=4, span=2)
    with pytest.raises(ValueError, match="disjoint"):
        make_sampler("tiling", windows=20, batch_size=4, span=7)


def test_system_noise_is_normal_and_never_the_same() -> None:
    drawn = SystemRandomness().normal(400_001)
    assert len(drawn) == 400_001
    assert abs(float(drawn.mean())) < 5 / 400_001**0.5
    assert float(drawn.std()) == pytest.approx(1.0, rel=0.006)  # 5 standard errors
    assert float((drawn.abs() < 1).double().mean()) == pytest.approx(0.6827, abs=0.004)
    assert float((drawn.abs() > 3).double().mean()) == pytest.approx(0.0027, abs=0.0005)
    assert not torch.equal(SystemRandomness().normal(3), SystemRandomness().normal(3))
    assert abs(float((drawn[:200_000] * drawn[200_000:400_000]).mean())) < 5 / 200_000**0.5


# ---------------------------------------------------------------- white-box audit


def audited(noise: float, *, claimed: float, steps: int = 60, rate: float = 0.25, **settings: Any) -> Any:
    """The verdict on our own step, read coordinate by coordinate; `noise` is drawn, `claimed` is accounted for."""
    claim = epsilon([PrivateTraining(claimed, rate, steps, C)], delta=1e-6)
    step = make_step(Dummies(1000), noise=noise, steps=steps, **settings)
    return audit_step(
        lambda gradients: moved(step, [[gradients]] if len(gradients) else []),
        claim=claim,
        delta=1e-6,
        max_grad_norm=C,
        sample_rate=rate,
        steps=steps,
        seed=1,
    )


def test_the_audit_of_the_step_passes_the_right_code() -> None:
    for seed in range(3):
        assert audited(4.0, claimed=4.0, seed=seed).verdict != "violated"


def test_the_audit_of_the_step_flags_a_quarter_of_the_noise() -> None:
    for seed in range(3):
        assert audited(1.0, claimed=4.0, seed=seed).verdict == "violated"


def test_the_audit_of_the_step_flags_clipping_that_is_off() -> None:
    assert audited(4.0, claimed=4.0, way=plain).verdict == "violated"


@pytest.mark.slow
@pytest.mark.parametrize(("drawn", "refuted"), [(4.0, 0), (1.0, 20)])
def test_the_audit_at_the_scale_of_a_training_tells_right_from_a_quarter(drawn: float, refuted: int) -> None:
    """q = 0.082, T = 486, 1,000 canaries, 200 guesses, 20 trainings: a claim of 2.10 is never refuted where it is true,
    and always where the noise is a quarter of it."""
    settings = {"claimed": 4.0, "steps": 486, "rate": 0.082}
    verdicts = [audited(drawn, seed=seed, **settings).verdict for seed in range(20)]
    assert verdicts.count("violated") == refuted
