import pytest
import torch

from models.recurrent import Recurrence, RecurrentForecaster


@pytest.mark.parametrize("profile", [0, 4])
@pytest.mark.parametrize("predict", ["value", "change"])
def test_an_untrained_network_is_the_mean_or_persistence(predict: str, profile: int) -> None:
    network = RecurrentForecaster("gru", horizon=2, nodes=3, variables=1, hidden=4, predict=predict, profile=profile)
    x = torch.randn(5, 6, 3, 1)
    forecast = network(x, torch.ones_like(x, dtype=torch.bool), torch.zeros(5, 8, 3))
    expected = x[:, -1:].expand(-1, 2, -1, -1) if predict == "change" else torch.zeros_like(forecast)
    assert torch.equal(forecast, expected)


@pytest.mark.parametrize(("cell", "gates"), [("lstm", 4), ("gru", 3), ("bilstm", 4), ("bigru", 3)])
def test_parameters_are_those_of_the_paper_s_layers(cell: str, gates: int) -> None:
    """One recurrent layer over 6 counts and the calendar, one dense output of 6 (torch has two bias vectors)."""
    network = RecurrentForecaster(cell, horizon=1, nodes=6, variables=1, hidden=10)
    directions = 2 if cell.startswith("bi") else 1
    recurrent = directions * gates * (10 * (6 + 5) + 10 * 10 + 2 * 10)
    assert sum(p.numel() for p in network.parameters()) == recurrent + (10 * directions + 1) * 6


def test_the_backward_pass_ends_at_the_first_step() -> None:
    """The state is (last of forward, last of backward): the backward half must see the whole window."""
    torch.manual_seed(0)
    recurrence = Recurrence("bigru", 2, 4, layers=1, dropout=0.0)
    inputs = torch.randn(1, 30, 2)
    changed = inputs.clone()
    changed[:, 0] += 1
    forward, backward = (recurrence(changed) - recurrence(inputs)).abs().chunk(2, dim=-1)
    assert backward.max() > 1000 * forward.max()


def test_the_profile_reads_the_calendar_of_the_target_alone() -> None:
    torch.manual_seed(0)
    network = RecurrentForecaster("gru", horizon=2, nodes=3, variables=1, hidden=4, profile=4)
    torch.nn.init.normal_(network.profile.outer.weight)
    x = torch.randn(1, 6, 3, 1)
    calendar = torch.rand(1, 8, 3)
    later = calendar.clone()
    later[:, 7] = torch.rand(3)
    before, after = (network(x, torch.ones_like(x, dtype=torch.bool), each) for each in (calendar, later))
    assert torch.equal(before[:, 0], after[:, 0])
    assert not torch.equal(before[:, 1], after[:, 1])
