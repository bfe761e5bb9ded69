"""The step that trains is audited as it is, by the spec's own figures, and a broken one is caught."""

import pytest
import torch

from models.clipped_sum import looped_sum
from models.sample_check import WAYS
from pipelines.privacy.audit.step_run import Coordinates, noised_sums
from pipelines.privacy.mechanisms import PrivateTraining

CLIP = 0.5


@pytest.mark.parametrize("way", WAYS)
def test_a_canary_gradient_is_clipped_along_its_coordinate_in_every_way(way):
    """All but no noise: what is left is the clipped sum."""
    mechanism = PrivateTraining(1e-9, 0.5, 10, CLIP)
    noised_sum = noised_sums(mechanism, WAYS[way], canaries=6)
    gradients = torch.zeros(3, 6)
    gradients[0, 1], gradients[1, 1], gradients[2, 4] = 5.0, 0.1, -7.0
    expected = torch.tensor([0, CLIP + 0.1, 0, 0, -CLIP, 0])
    torch.testing.assert_close(noised_sum(gradients), expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(noised_sum(torch.zeros(0, 6)), torch.zeros(6), atol=1e-5, rtol=0)


def test_the_gradient_of_coordinates_is_what_they_are_called_with():
    losses, gradients = Coordinates(4), torch.randn(3, 4)
    found = looped_sum(losses, [gradients], 1e9)
    torch.testing.assert_close(found.gradients[0][0], gradients.sum(0))
