import pytest
import torch
from torch import nn

from models.activation import ACTIVATIONS, activation, dead_outputs, output_activation


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_name_is_an_activation_that_keeps_the_shape(name: str) -> None:
    assert activation(name)(torch.randn(2, 3)).shape == (2, 3)


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="'Swish'; choose one of CELU, ELU"):
        activation("Swish")


def test_the_output_follows_the_range_of_what_was_observed() -> None:
    values = torch.tensor([3.0, 0.0, -1.0])
    assert output_activation(values, torch.tensor([True, True, False])) == "ReLU"
    assert output_activation(values, torch.tensor([True, True, True])) == "Identity"
    assert output_activation(values, torch.zeros(3, dtype=torch.bool)) == "ReLU"


def test_an_output_is_dead_where_no_window_gives_a_gradient() -> None:
    before = torch.tensor([[-1.0, -1.0, 2.0], [-3.0, 0.5, 2.0]])
    assert dead_outputs(nn.ReLU(), before).tolist() == [True, False, False]
    assert not dead_outputs(nn.Identity(), before).any()
    with torch.no_grad():
        assert dead_outputs(nn.ReLU(), -before.abs()).all()
