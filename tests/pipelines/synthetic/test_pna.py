from dataclasses import replace

import pytest
import torch

from data.pna_multitask import TASKS, draw_multitask
from pipelines.synthetic import pna
from pipelines.synthetic.aggregators import NAMES
from pipelines.synthetic.pna import as_given, evaluate, mean_errors, mixed, new_network, run, squared_errors
from pipelines.synthetic.training import Training


def quiet(line: str) -> None: ...


@pytest.fixture(scope="module")
def data():
    return draw_multitask(train=6, validation=2, test=3, seed=1)


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setattr(pna, "ORDERS", 2)


@pytest.mark.parametrize("name", NAMES)
def test_a_step_against_the_gradient_lowers_the_loss_of_its_batch(name, data):
    torch.manual_seed(0)
    network = new_network(Training(name, steps=1, width=8), data.train).eval()
    before = squared_errors(network, data.train[0], as_given).mean()
    before.backward()
    torch.optim.SGD(network.parameters(), lr=1e-3).step()
    assert squared_errors(network, data.train[0], as_given).mean() < before


def test_equal_seeds_give_equal_figures_bit_for_bit(data):
    training = Training("lcm", assoc_weight=0.01, steps=3, width=8, batch_size=4, check_every=2)
    (one, course), (same, again) = (run(training, data, say=quiet) for _ in range(2))
    assert one.equals(same, null_equal=True)
    assert course.checks.drop("seconds").equals(again.checks.drop("seconds"))
    assert one["task"].to_list() == [*TASKS, "average"]


def test_mixed_edges_are_the_same_edges_sorted_by_target(data):
    edges = data.train[0].edge_index
    other = mixed(torch.Generator().manual_seed(0))(edges)
    assert torch.equal(other[1], edges[1])
    assert not torch.equal(other[0], edges[0])
    assert set(zip(*other.tolist(), strict=True)) == set(zip(*edges.tolist(), strict=True))


class Constant(torch.nn.Module):
    def __init__(self, says: torch.Tensor) -> None:
        super().__init__()
        self.says = says

    def forward(self, x, edge_index, ptr):
        return self.says[:3].expand(len(x), 3), self.says[3:].expand(len(ptr) - 1, 3)


def test_a_network_that_says_the_training_mean_scores_as_the_mean_does(data):
    rows = evaluate(Constant(data.train_mean()), data)
    assert rows["log10_mse"].to_list() == pytest.approx(rows["log10_mse_of_mean"].to_list(), abs=1e-6)


def test_errors_are_means_over_nodes_and_graphs_of_every_size_alike(data, monkeypatch):
    monkeypatch.setattr(pna, "JUDGED_AT_ONCE", 2)  # an uneven last chunk
    parts = data.test["15-19"]
    errors = mean_errors(Constant(torch.zeros(6)), parts)
    slow = sum((part.node_targets[..., 1] ** 2).mean() for part in parts) / len(parts)
    assert float(errors[1]) == pytest.approx(float(slow))
    slow = sum((part.graph_targets[:, 2] ** 2).mean() for part in parts) / len(parts)
    assert float(errors[5]) == pytest.approx(float(slow))


def test_the_average_is_that_of_the_logarithms(data):
    rows = evaluate(Constant(torch.zeros(6)), data)["log10_mse"].to_list()
    assert rows[6] == pytest.approx(sum(rows[:6]) / 6)


def test_larger_graphs_are_judged_in_the_given_order_alone(monkeypatch):
    monkeypatch.setattr("data.pna_multitask.FAR_SIZES", (range(20, 21),))
    rows = evaluate(Constant(torch.zeros(6)), draw_multitask(train=2, validation=1, test=1, far=1))
    assert rows["sizes"].unique(maintain_order=True).to_list() == ["15-19", "20-20"]
    assert rows["orders_lowest"][:7].is_finite().all()
    assert rows["orders_lowest"][7:].is_nan().all()


@pytest.mark.parametrize(("name", "matters"), [("sum", False), ("pna", False), ("lcm", True), ("pyg-gru", True)])
def test_order_matters_to_recurrent_aggregations_alone(name, matters, data):
    """In double precision, where rounding is not taken for an order."""
    torch.manual_seed(0)
    network = new_network(Training(name, steps=1, width=8), data.train).double().eval()
    part = data.train[9]
    errors = [
        squared_errors(network, replace(part, x=part.x.double()), order)
        for order in (as_given, mixed(torch.Generator().manual_seed(0)))
    ]
    assert bool(((errors[0] - errors[1]).abs() > 1e-12).any()) == matters


def test_what_is_tested_on_has_no_say_in_which_weights_are_kept(data):
    training = Training("sum", steps=4, width=8, batch_size=4, check_every=1)
    noise = {
        sizes: [replace(part, graph_targets=torch.rand_like(part.graph_targets)) for part in parts]
        for sizes, parts in data.test.items()
    }
    one, other = (run(training, drawn, say=quiet)[1] for drawn in (data, replace(data, test=noise)))
    assert one.checks.drop("seconds").equals(other.checks.drop("seconds"))
    assert one.best_step == other.best_step


def test_pna_is_fitted_on_the_degrees_of_the_training_graphs(data):
    network = new_network(Training("pna", steps=1, width=8), data.train)
    degree = torch.cat(
        [part.edge_index[1].bincount(minlength=part.x.shape[0] * part.x.shape[1]) for part in data.train]
    )
    for module in network.modules():
        if hasattr(module, "mean_log_degree"):
            torch.testing.assert_close(module.mean_log_degree, degree.float().log1p().mean())
