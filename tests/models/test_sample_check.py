"""Ways to find the gradient of a sample that are wrong, and networks that have none."""

from collections.abc import Sequence

import pytest
import torch
from opacus.grad_sample import GradSampleModule
from torch import Tensor, nn

from models.clipped_sum import ClippedSum, clip_factors, looped_sum, tapped_sum, vmapped_sum
from models.sample_check import fastest_way, why_not

B, T, N = 5, 6, 7
HOOKED = pytest.mark.filterwarnings("ignore:Full backward hook is firing")  # Opacus' are, on inputs


class Folded(nn.Module):
    """Every layer sees the nodes [B, N, I] folded into the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(3, 4), nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        folded = self.outer(self.inner(x.flatten(0, 1)).tanh())  # [B * N, 1]
        return folded.view(*x.shape[:2]).square().mean(1)


class TimeMajor(nn.Module):
    """Every layer sees the steps before the samples."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(3, 4), nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.outer(self.inner(x.transpose(0, 1)).tanh())[..., 0].square().mean(0)  # [T, B, I] to [B]


def hooked_sum(losses: nn.Module, batch: Sequence[Tensor], max_grad_norm: float) -> ClippedSum:
    """What Opacus' hooks take for the gradients of the samples."""
    hooked = GradSampleModule(losses, loss_reduction="sum")
    try:
        hooked(*batch).sum().backward()
        gradients = [p.grad_sample for p in losses.parameters()]
    finally:
        hooked.del_grad_sample()
        hooked.to_standard_module()
        for p in losses.parameters():
            p.grad = None
    norms = torch.stack([g.flatten(1).norm(dim=1) for g in gradients], 1).norm(dim=1)
    return ClippedSum([torch.einsum("b,b...->...", clip_factors(norms, max_grad_norm), g) for g in gradients], norms)


@HOOKED
@pytest.mark.parametrize("trap", [Folded, TimeMajor])
def test_hooks_that_take_another_axis_for_the_samples_are_caught_before_data_is_read(trap: type[nn.Module]) -> None:
    torch.manual_seed(0)
    problem = why_not(hooked_sum, trap(), [torch.randn(B, N if trap is Folded else T, 3)])
    assert problem is not None
    assert f"where there are {B}" in problem


@HOOKED
def test_hooks_on_a_network_that_has_samples_first_pass_the_same_check() -> None:
    torch.manual_seed(0)

    class SamplesFirst(Folded):
        def forward(self, x: Tensor) -> Tensor:
            return self.outer(self.inner(x).tanh())[..., 0].square().mean(1)

    assert why_not(hooked_sum, SamplesFirst(), [torch.randn(B, N, 3)]) is None


def test_a_sum_that_does_not_clip_is_caught() -> None:
    def unclipped(losses: nn.Module, batch: Sequence[Tensor], max_grad_norm: float) -> ClippedSum:
        return looped_sum(losses, batch, 1e9)

    torch.manual_seed(0)
    assert why_not(unclipped, Folded(), [torch.randn(B, N, 3)]) is not None


def test_taps_are_right_where_nodes_are_folded_and_not_taken_where_steps_come_first() -> None:
    torch.manual_seed(0)
    assert why_not(tapped_sum, Folded(), [torch.randn(B, N, 3)]) is None
    assert why_not(tapped_sum, TimeMajor(), [torch.randn(B, T, 3)]) is not None
    assert why_not(vmapped_sum, TimeMajor(), [torch.randn(B, T, 3)]) is None
    assert fastest_way(TimeMajor(), [torch.randn(B, T, 3)]) == "vmap"


def test_a_network_that_branches_on_values_is_looped_over() -> None:
    class Branching(Folded):
        def forward(self, x: Tensor) -> Tensor:
            picked = [self.outer(self.inner(row).tanh()).square().mean() for row in x if row.sum() > -1e9]
            return torch.stack(picked)

    torch.manual_seed(0)
    assert fastest_way(Branching(), [torch.randn(B, N, 3)]) == "loop"


def test_batch_norm_is_refused() -> None:
    class Normed(Folded):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm1d(N)

        def forward(self, x: Tensor) -> Tensor:
            return super().forward(self.norm(x))

    with pytest.raises(ValueError, match=r"norm \(BatchNorm1d\) keeps statistics over the samples"):
        fastest_way(Normed(), [torch.randn(B, N, 3)])


def test_a_loss_that_is_normalised_by_the_batch_is_refused() -> None:
    class Relative(Folded):
        def forward(self, x: Tensor) -> Tensor:
            each = super().forward(x)
            return each / each.mean()

    with pytest.raises(ValueError, match="which other samples share its batch"):
        fastest_way(Relative(), [torch.randn(B, N, 3)])


def test_a_network_that_remembers_what_passed_is_refused() -> None:
    class Counting(Folded):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("largest", torch.zeros(()))

        def forward(self, x: Tensor) -> Tensor:
            self.largest.copy_(x.max())
            return super().forward(x)

    with pytest.raises(ValueError, match="largest changes as samples pass"):
        fastest_way(Counting(), [torch.randn(B, N, 3)])


def test_the_check_leaves_weights_dropout_and_mode_as_they_were() -> None:
    class Dropping(Folded):
        def __init__(self) -> None:
            super().__init__()
            self.drop = nn.Dropout(0.3)

        def forward(self, x: Tensor) -> Tensor:
            return super().forward(self.drop(x))

    torch.manual_seed(0)
    network = Dropping().eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    assert fastest_way(network, [torch.randn(B, N, 3)]) == "taps"
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert network.drop.p == 0.3
    assert not network.training
