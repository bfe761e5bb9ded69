"""The head against the layers that the paper's code has, in one piece."""

import pytest
import torch
from torch.nn import functional

from models import pair_head
from models.pair_head import NodeHead, PairHead

H = torch.randn(6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
PAIRS = torch.tensor([[0, 1, 5, 2, 2], [1, 0, 5, 4, 3]])
FEATURES = torch.randn(5, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(2))


def whole(head, columns):
    """Linear, ReLU, Linear on the columns side by side."""
    hidden = functional.linear(torch.cat(columns, dim=1), head.first.weight, head.first.bias).relu()
    return functional.linear(hidden, head.last.weight, head.last.bias)


def test_a_pair_is_the_layers_on_its_ends_and_features_side_by_side():
    head = PairHead(3, 7, 2, features=2).double()
    expected = whole(head, [H[PAIRS[0]], H[PAIRS[1]], FEATURES])
    torch.testing.assert_close(head(H, PAIRS, FEATURES), expected, rtol=0, atol=1e-12)


def test_a_symmetric_head_gives_both_directions_alike_and_an_ordered_one_does_not():
    head, ordered = PairHead(3, 7, symmetric=True).double(), PairHead(3, 7).double()
    u, v = H[PAIRS[0]], H[PAIRS[1]]
    torch.testing.assert_close(head(H, PAIRS), whole(head, [u + v, u * v, (u - v).abs()]), rtol=0, atol=1e-12)
    assert torch.equal(head(H, PAIRS), head(H, PAIRS.flip(0)))
    assert not torch.allclose(ordered(H, PAIRS), ordered(H, PAIRS.flip(0)))


@pytest.mark.parametrize("features", [0, 2])
def test_chunks_change_nothing(monkeypatch, features):
    head = PairHead(3, 7, features=features).double()
    given = FEATURES if features else None
    straight = head(H, PAIRS, given)
    monkeypatch.setattr(pair_head, "CHUNK", 2)
    torch.testing.assert_close(head(H, PAIRS, given), straight, rtol=0, atol=1e-12)


def test_missing_features_of_a_pair_are_told():
    with pytest.raises(ValueError, match="reads 2 features of a pair but 0 were given"):
        PairHead(3, 7, features=2).double()(H, PAIRS)


def test_the_gradient_reaches_the_embeddings_of_both_ends():
    h = H.clone().requires_grad_()
    PairHead(3, 7).double()(h, torch.tensor([[0], [4]])).sum().backward()
    assert (h.grad.abs().sum(1) > 0).tolist() == [True, False, False, False, True, False]


def test_a_node_is_the_two_layers_on_its_embedding():
    head = NodeHead(3, 7, 4).double()
    torch.testing.assert_close(head(H), whole(head, [H]), rtol=0, atol=1e-12)
