"""What is read from oneDNN's workspace, and that nothing is read where it isn't what it should be."""

import pytest
import torch
from torch import Tensor, nn

from models import fused_lstm
from models.fused_lstm import fused_gates
from models.recurrent_steps import written_gates

SHAPES = [(1, 1, 1, 1), (2, 1, 3, 8), (6, 5, 8, 8), (5, 7, 3, 5), (24, 64, 32, 64), (24, 64, 32, 128), (24, 33, 8, 32)]
SHAPES += [(24, 8, 300, 32), (24, 57, 32, 100), (9, 3, 32, 256)]  # rows that are padded
Parts = tuple[Tensor, Tensor, Tensor, tuple[Tensor, Tensor]]


def parts(steps: int, batch: int, inputs: int, size: int) -> Parts:
    torch.manual_seed(0)
    inner, weight, *biases = (p.detach() for p in nn.LSTM(inputs, size).parameters())
    return torch.randn(steps, batch, inputs), inner, weight, (biases[0], biases[1])


@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_states_cells_and_gates_of_the_fused_pass_are_those_of_the_steps(
    shape: tuple[int, int, int, int], with_bias: bool
) -> None:
    *known, biases = parts(*shape)
    found = fused_gates(*known, biases if with_bias else None)
    if found is not None:
        right = written_gates(*known, biases if with_bias else None)
        for part, wanted in zip(found, right, strict=True):
            torch.testing.assert_close(part, wanted, rtol=1e-5, atol=1e-6)


def test_the_fused_pass_is_read_where_onednn_is_there() -> None:
    if not torch.backends.mkldnn.is_available():
        pytest.skip("no oneDNN")
    for shape in ((24, 64, 32, 64), (24, 64, 32, 128), (24, 8, 300, 32), (24, 57, 32, 100), (9, 3, 32, 256)):
        assert fused_gates(*parts(*shape)) is not None, f"nothing is read at {shape}"


def test_another_layout_of_the_workspace_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    known = parts(24, 64, 32, 64)
    monkeypatch.setattr(fused_lstm, "ALIAS", 1000)  # rows of gates would lie closer together
    assert fused_gates(*known) is None
    monkeypatch.undo()
    monkeypatch.setattr(fused_lstm, "PAGE", 16)  # cells would begin elsewhere
    assert fused_gates(*parts(6, 5, 8, 8)) is None


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_pass_that_ends_in_no_number_is_not_believed(bad: float) -> None:
    x, *weights = parts(6, 5, 8, 8)
    x[2, 0, 0] = bad
    found = fused_gates(x, *weights)  # type: ignore[arg-type]
    assert found is None or bool(found[0][-1, 0].isfinite().all())


def test_double_precision_is_left_to_the_steps() -> None:
    x, inner, weight, biases = parts(6, 5, 8, 8)
    assert fused_gates(x.double(), inner.double(), weight.double(), (biases[0].double(), biases[1].double())) is None
