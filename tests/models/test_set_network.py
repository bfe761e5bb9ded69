import pytest
import torch
from torch import nn
from torch_geometric.nn.aggr import SumAggregation

from models.aggregations import make_aggregation
from models.set_network import BitEmbedding, SetNetwork


def test_the_embedding_is_the_sum_of_one_row_of_a_table_a_bit():
    torch.manual_seed(0)
    embedding = BitEmbedding(8, 5)
    bits = torch.randint(2, (20, 8))
    slow = sum(embedding.vectors[bits[:, k], k] for k in range(8))
    torch.testing.assert_close(embedding(bits.float()), slow)


def test_sets_are_answered_one_by_one():
    """Every set alone gives what it gives in a batch."""
    torch.manual_seed(0)
    network = SetNetwork(make_aggregation("lcm", 16), bits=8, width=16).eval()
    sizes = torch.tensor([2, 5, 1, 16])
    bits = torch.randint(2, (int(sizes.sum()), 8)).float()
    together = network(bits, torch.arange(4).repeat_interleave(sizes), 4)
    alone = [network(part, torch.zeros(len(part), dtype=torch.long), 1) for part in bits.split(sizes.tolist())]
    assert together.shape == (4, 8)
    torch.testing.assert_close(together, torch.cat(alone))


def test_with_a_sum_the_network_is_what_its_parts_are():
    torch.manual_seed(0)
    network = SetNetwork(SumAggregation(), bits=8, width=16)
    bits = torch.randint(2, (6, 8)).float()
    encoded = network.encoder(network.embedding(bits))
    out = network(bits, torch.tensor([0, 0, 0, 0, 1, 1]), 2)
    torch.testing.assert_close(out, network.decoder(torch.stack([encoded[:4].sum(0), encoded[4:].sum(0)])))


@pytest.mark.parametrize("name", ["mean", "sum", "max", "gru", "lcm"])
def test_every_part_learns(name):
    torch.manual_seed(0)
    network = SetNetwork(make_aggregation(name, 16), bits=8, width=16)
    index = torch.arange(8).repeat_interleave(3)
    loss = nn.functional.binary_cross_entropy_with_logits(
        network(torch.randint(2, (24, 8)).float(), index, 8), torch.randint(2, (8, 8)).float()
    )
    loss.backward()
    silent = {part for part, p in network.named_parameters() if p.grad is None or not p.grad.any()}
    assert silent <= {"aggregation.identity"}  # of an empty set, and there is none
