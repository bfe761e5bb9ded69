"""The pace view: what a window looks like must not depend on how large the series has become."""

import torch
from torch import Tensor, nn

from models.pace import Paced

CALENDAR = torch.zeros(1, 8, 3)


class Line(nn.Module):
    """Goes on from the last value with the last change; keeps what it was shown."""

    def forward(self, x: Tensor, mask: Tensor, calendar: Tensor) -> Tensor:
        self.seen = x
        return x[:, -1:] + (x[:, -1:] - x[:, -2:-1]) * torch.arange(1, 4).view(1, 3, 1, 1)


def window(*values: float) -> Tensor:
    return torch.tensor(values).view(1, -1, 1, 1)


def observed(x: Tensor) -> Tensor:
    return torch.ones_like(x, dtype=torch.bool)


def test_a_window_that_is_shifted_and_stretched_looks_the_same_and_is_forecast_alike() -> None:
    line, x = Line(), window(1, 2, 4, 5, 9)
    paced = Paced(line)
    first, seen = paced(x, observed(x), CALENDAR), line.seen
    larger = paced(1000 + 50 * x, observed(x), CALENDAR)
    torch.testing.assert_close(line.seen, seen)
    torch.testing.assert_close(larger, 1000 + 50 * first)
    torch.testing.assert_close(seen.flatten(), torch.tensor([-4.0, -3.5, -2.5, -2.0, 0.0]))  # mean change: 2


def test_a_line_goes_on_as_a_line() -> None:
    x = window(10, 20, 30, 40, 50)
    torch.testing.assert_close(Paced(Line())(x, observed(x), CALENDAR).flatten(), torch.tensor([60.0, 70, 80]))


def test_a_window_that_stands_still_is_forecast_to_stand_still() -> None:
    x = window(7, 7, 7, 7, 7)
    torch.testing.assert_close(Paced(Line())(x, observed(x), CALENDAR).flatten(), torch.tensor([7.0, 7, 7]))


def test_gaps_take_the_value_before_and_the_time_before_the_first_observation_has_no_pace() -> None:
    line, x = Line(), window(0, 0, 100, 0, 104)
    mask = torch.tensor([False, False, True, False, True]).view(1, -1, 1, 1)
    Paced(line)(x, mask, CALENDAR)
    torch.testing.assert_close(line.seen.flatten(), torch.tensor([0.0, 0.0, -2.0, -2.0, 0.0]))  # mean change: 2


def test_a_window_without_an_observation_is_the_mean_of_training() -> None:
    x = torch.zeros(1, 5, 1, 1)
    assert torch.equal(Paced(Line())(x, x.bool(), CALENDAR), torch.zeros(1, 3, 1, 1))
