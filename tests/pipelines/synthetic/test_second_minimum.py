from dataclasses import replace

import polars as pl
import pytest
import torch

from data.second_minimum import bits_of, draw_multisets, second_smallest
from models.forecaster import penalty
from pipelines.errors import SpecError
from pipelines.synthetic import second_minimum
from pipelines.synthetic.aggregators import NAMES
from pipelines.synthetic.second_minimum import accuracy, evaluate, loss_of, new_network, run, shuffled_batches
from pipelines.synthetic.training import Training


def quiet(line: str) -> None: ...


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setattr(second_minimum, "JUDGED_SETS", 40)
    monkeypatch.setattr(second_minimum, "ORDERS", 3)


@pytest.mark.parametrize("name", NAMES)
def test_a_step_against_the_gradient_lowers_the_loss_of_its_batch(name):
    torch.manual_seed(0)
    sets = draw_multisets(64, smallest=2, largest=16, seed=0)
    network = new_network(Training(name, steps=1, width=16), sets).eval()
    before = loss_of(network, sets)
    before.backward()
    torch.optim.SGD(network.parameters(), lr=1e-2).step()
    assert loss_of(network, sets) < before


def test_equal_seeds_give_equal_figures_bit_for_bit_and_others_do_not():
    training = Training("lcm", assoc_weight=0.01, steps=6, width=16, check_every=3)
    (one, course), (same, again) = (run(training, sizes=[2, 16], train_sets=256, say=quiet) for _ in range(2))
    _, other = run(replace(training, seed=1), sizes=[2], train_sets=256, say=quiet)
    assert one.equals(same)
    assert course.checks.drop("seconds").equals(again.checks.drop("seconds"))
    assert course.checks["loss"].to_list() != other.checks["loss"].to_list()


def test_the_penalty_takes_part_in_training():
    sets = draw_multisets(256, smallest=2, largest=16, seed=0)
    found = []
    for weight in (0.0, 1.0):
        torch.manual_seed(0)
        network = new_network(Training("lcm", assoc_weight=weight, steps=1, width=16), sets)
        loss_of(network.train(), sets)
        found.append(penalty(network).item())
        course = run(Training("lcm", assoc_weight=weight, steps=6, width=16), sizes=[2], train_sets=256, say=quiet)[1]
        found.append(course.checks["loss"][-1])
    assert found[0] == 0 < found[2]
    assert found[1] != found[3]


def test_an_epoch_has_every_set_once_and_the_next_one_another_order():
    sets = draw_multisets(10, smallest=16, largest=16, seed=0)
    batches = shuffled_batches(sets, 4, seed=0)
    first, second = ([next(batches) for _ in range(3)] for _ in range(2))
    whole = sorted(sorted(part.tolist()) for part in sets.values.split(16))
    for epoch in (first, second):
        assert [len(batch) for batch in epoch] == [4, 4, 2]
        assert sorted(sorted(p.tolist()) for batch in epoch for p in batch.values.split(16)) == whole
    assert first[0].values.tolist() != second[0].values.tolist()


class Oracle(torch.nn.Module):
    """Says the second smallest, but for a wrong bit where the set's first number is even."""

    def forward(self, bits, index, sets):
        first = bits.view(sets, -1, 8)[:, 0]
        numbers = (bits * 2.0 ** torch.arange(7, -1, -1)).sum(-1).long().view(sets, -1)
        answer = bits_of(numbers.sort().values[:, 1])
        answer[:, 7] = torch.where(first[:, 7] == 0, 1 - answer[:, 7], answer[:, 7])
        return (answer - 0.5) * 9


def test_accuracy_is_the_share_of_sets_with_all_bits_right():
    sets = draw_multisets(200, smallest=5, largest=5, seed=0)
    odd = (sets.values[sets.ptr[:-1]] % 2 == 1).double().mean().item()
    assert accuracy(Oracle(), sets) == pytest.approx(odd)


def test_orders_are_others_than_the_one_given_and_their_extremes_hold_the_mean():
    rows = evaluate(Oracle(), [3, 20])
    assert rows["size"].to_list() == [3, 20]
    assert rows.filter(pl.col("orders_lowest") < pl.col("orders_highest")).height == 2
    for row in rows.to_dicts():
        assert row["orders_lowest"] <= row["orders_mean"] <= row["orders_highest"]


def test_training_and_test_are_of_the_sizes_of_the_protocol(monkeypatch):
    drawn = []

    def draw(count, *, smallest, largest, seed):
        drawn.append((count, smallest, largest, seed))
        return draw_multisets(min(count, 64), smallest=smallest, largest=largest, seed=seed)

    monkeypatch.setattr(second_minimum, "draw_multisets", draw)
    run(Training("sum", steps=1, width=8), sizes=[200], say=quiet)
    assert [each[:3] for each in drawn] == [(65_536, 2, 16), (40, 32, 32), (40, 200, 200)]
    assert len({each[3] for each in drawn}) == 3


def test_a_size_without_a_second_number_is_refused_before_training():
    with pytest.raises(SpecError, match="--size is 1"):
        run(Training("sum", steps=10**9), sizes=[2, 1], say=quiet)


def test_the_targets_fit_the_shuffled_sets():
    sets = next(shuffled_batches(draw_multisets(50, smallest=2, largest=9, seed=0), 50, seed=3))
    slow = [sorted(part.tolist())[1] for part in sets.values.split(sets.ptr.diff().tolist())]
    assert second_smallest(sets).tolist() == slow


def test_validation_counts_what_is_wrong_so_that_the_lowest_is_the_best():
    course = run(Training("sum", steps=1, width=8, check_every=1), sizes=[2], train_sets=128, say=quiet)[1]
    assert course.checks["validation"][0] > 0.9  # hardly any eight bits are right by chance


def test_numbers_within_a_set_are_shuffled_anew_in_every_epoch():
    sets = draw_multisets(1, smallest=16, largest=16, seed=0)
    batches = shuffled_batches(sets, 1, seed=0)
    seen = {tuple(next(batches).values.tolist()) for _ in range(5)}
    assert len(seen) == 5
    assert {tuple(sorted(each)) for each in seen} == {tuple(sorted(sets.values.tolist()))}
