import shutil

import pytest
import torch
from torch import Tensor

from models import pair_gates
from models.pair_gates import Fused, InPlace, element_wise, meet, meet_backward

PAIRS, WIDTH = 7, 5


@pytest.fixture
def pairs() -> list[Tensor]:
    """`ab`, `uv` and `nh` in turn."""
    torch.manual_seed(0)
    return [torch.randn(2, PAIRS, width, dtype=torch.float64) for width in (WIDTH, 2 * WIDTH, 2 * WIDTH)]


def slowly(ab: Tensor, uv: Tensor, nh: Tensor) -> Tensor:
    """Both cells as the paper writes them."""
    found = []
    for state, sign in ((0, 1), (1, -1)):
        reset, update = (uv[0] + sign * uv[1]).sigmoid().chunk(2, dim=-1)
        candidate = (nh[1 - state, :, :WIDTH] + reset * nh[state, :, WIDTH:]).tanh()
        found.append((1 - update) * candidate + update * ab[state])
    return (found[0] + found[1]) / 2


def test_pairs_meet_as_the_cells_written_out_have_it(pairs):
    torch.testing.assert_close(meet(*pairs), slowly(*pairs), rtol=0, atol=1e-15)


def test_the_gradients_written_out_are_those_of_autograd(pairs):
    grad = torch.randn(PAIRS, WIDTH, dtype=torch.float64)
    asked = [value.clone().requires_grad_() for value in pairs]
    expected = torch.autograd.grad(slowly(*asked), asked, grad)
    torch.testing.assert_close(meet_backward(grad, *pairs), expected, rtol=0, atol=1e-15)


def test_in_place_a_chunk_that_fills_part_of_the_room_meets_as_it_does_in_one_expression(pairs):
    grad, room = torch.randn(PAIRS, WIDTH, dtype=torch.float64), InPlace(pairs[0], PAIRS + 4)
    out, d_ab = torch.empty_like(grad), torch.empty_like(pairs[0])
    expected = meet_backward(grad, *pairs)
    room.forward(*pairs, out)
    d_uv, d_nh = room.backward(grad, *(value.clone() for value in pairs), d_ab)
    torch.testing.assert_close(out, meet(*pairs), rtol=0, atol=1e-15)
    torch.testing.assert_close((d_ab, d_uv, d_nh), expected, rtol=0, atol=1e-15)


def test_swapping_the_rows_of_every_pair_changes_no_bit(pairs):
    ab, uv, nh = pairs
    swapped = ab.flip(0), torch.stack([uv[0], -uv[1]]), nh.flip(0)
    room, out, again = InPlace(ab, PAIRS), torch.empty_like(ab[0]), torch.empty_like(ab[0])
    room.forward(*pairs, out)
    room.forward(*swapped, again)
    assert torch.equal(again, out)
    assert torch.equal(meet(*swapped), meet(*pairs))


def test_a_processor_is_given_the_passes_in_place(pairs):
    assert isinstance(element_wise(pairs[0], PAIRS), InPlace)


def test_without_triton_the_gpu_is_slower_and_says_so_once(monkeypatch):
    monkeypatch.setattr(pair_gates.importlib.util, "find_spec", lambda name: None)
    pair_gates._has_triton.cache_clear()
    with pytest.warns(UserWarning, match="triton"):
        assert not pair_gates._has_triton()
    assert not pair_gates._has_triton()  # a second warning would be an error
    pair_gates._has_triton.cache_clear()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("c++") is None, reason="torch.compile needs a C++ compiler for the processor")
def test_compiled_the_two_functions_give_the_same(pairs):
    agree(pairs, tolerance=1e-14)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU at hand")
def test_on_the_gpu_the_fused_kernels_give_the_same(pairs):
    on_gpu = [value.float().cuda() for value in pairs]
    assert isinstance(element_wise(on_gpu[0], PAIRS), Fused)
    agree(on_gpu, tolerance=1e-6)


def agree(pairs: list[Tensor], tolerance: float) -> None:
    grad = torch.randn_like(pairs[0][0])
    out, d_ab = torch.empty_like(grad), torch.empty_like(pairs[0])
    Fused().forward(*pairs, out)
    d_uv, d_nh = Fused().backward(grad, *pairs, d_ab)
    torch.testing.assert_close(out, meet(*pairs), rtol=0, atol=tolerance)
    torch.testing.assert_close((d_ab, d_uv, d_nh), meet_backward(grad, *pairs), rtol=0, atol=tolerance)
