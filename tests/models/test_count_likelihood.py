import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from models.count_likelihood import LARGEST_CONCENTRATION, negative_binomial, poisson, zero_inflated

COUNTS = torch.arange(400, dtype=torch.float64)
LAWS = {
    "poisson": lambda y, rate, _: poisson(y, rate),
    "negative_binomial": negative_binomial,
    "zero_inflated": zero_inflated,
}
ANY_LAW = pytest.mark.parametrize("law", LAWS)
log_rates, seconds = st.floats(-6, 3.5), st.floats(-1, 3)


def number(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


@ANY_LAW
@given(log_rate=log_rates, second=seconds)
def test_the_probabilities_of_all_counts_sum_to_one(law: str, log_rate: float, second: float) -> None:
    """Up to 399, beyond which the heaviest tail here (mean 33, concentration 0.37) keeps 2 %; of it, within 3 %."""
    total = LAWS[law](COUNTS, number(log_rate), number(second)).exp().sum().item()
    tail = 0.03 if law == "negative_binomial" and log_rate > 2 else 1e-4
    assert 1 - tail < total < 1 + 1e-9


@given(log_rate=st.floats(-6, 2), second=seconds)
def test_mean_and_variance_are_what_the_laws_say(log_rate: float, second: float) -> None:
    rate, far = math.exp(log_rate), torch.arange(4000, dtype=torch.float64)
    zero = 1 / (1 + math.exp(-second))
    for law, mean, variance in (
        ("poisson", rate, rate),
        ("negative_binomial", rate, rate + rate**2 / math.exp(second)),
        ("zero_inflated", (1 - zero) * rate, (1 - zero) * rate * (1 + zero * rate)),
    ):
        chance = LAWS[law](far, number(log_rate), number(second)).exp()
        found = (chance * far).sum().item()
        assert found == pytest.approx(mean, rel=1e-6)
        assert (chance * (far - found) ** 2).sum().item() == pytest.approx(variance, rel=1e-6)


def test_the_laws_are_those_of_torch() -> None:
    """A second way; theirs is told the odds of a success."""
    rate, concentration = 3.7, 2.2
    theirs = torch.distributions.Poisson(number(rate)).log_prob(COUNTS)
    torch.testing.assert_close(poisson(COUNTS, number(rate).log()), theirs)
    binomial = torch.distributions.NegativeBinomial(
        number(concentration), logits=number(rate).log() - number(concentration).log()
    )
    ours = negative_binomial(COUNTS, number(rate).log(), number(concentration).log())
    torch.testing.assert_close(ours, binomial.log_prob(COUNTS))


@ANY_LAW
def test_gradients_are_those_of_finite_differences(law: str) -> None:
    draw = torch.Generator().manual_seed(0)
    log_rate, second = torch.randn(2, 12, dtype=torch.float64, generator=draw, requires_grad=False)
    y = torch.tensor([0, 0, 0, 1, 2, 3, 5, 0, 11, 40, 0, 1], dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda a, b: LAWS[law](y, a, b), (log_rate.requires_grad_(), second.requires_grad_())
    )


def test_the_negative_binomial_becomes_poisson_where_it_is_concentrated() -> None:
    y, log_rate = torch.arange(9.0), torch.full((9,), 0.5)
    ours = negative_binomial(y, log_rate, torch.full((9,), LARGEST_CONCENTRATION + 50))
    torch.testing.assert_close(ours, poisson(y, log_rate), atol=0.02, rtol=0)


@ANY_LAW
def test_single_precision_keeps_small_and_large_rates_finite(law: str) -> None:
    y = torch.tensor([0.0, 300.0])
    for log_rate in (-20.0, 8.0):
        for second in (-20.0, 20.0):
            assert LAWS[law](y, torch.tensor(log_rate), torch.tensor(second)).isfinite().all()


def test_a_concentration_of_next_to_nothing_keeps_its_gradient() -> None:
    low = torch.tensor(-110.0, requires_grad=True)
    value = negative_binomial(torch.tensor(0.0), torch.tensor(-3.0, requires_grad=True), low)
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(low.grad)


def test_large_counts_keep_their_digits() -> None:
    y, log_rate = torch.tensor(1e7), torch.tensor(1e7).log()
    exact = -0.5 * math.log(2 * math.pi * 1e7)  # Stirling
    assert float(poisson(y, log_rate)) == pytest.approx(exact, abs=0.05)
