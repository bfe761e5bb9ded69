import pytest
import torch

from data.second_minimum import Multisets, bits_of, draw_multisets, numbers_of, second_smallest


def lists(sets: Multisets) -> list[list[int]]:
    return [part.tolist() for part in sets.values.split(sets.ptr.diff().tolist())]


def test_the_answer_is_the_second_of_each_set_sorted_by_itself():
    sets = draw_multisets(300, smallest=2, largest=40, seed=0)
    assert second_smallest(sets).tolist() == [sorted(numbers)[1] for numbers in lists(sets)]


def test_equal_smallest_numbers_count_apart():
    sets = Multisets(torch.tensor([3, 9, 3, 7, 0, 255]), torch.tensor([0, 4, 6]))
    assert second_smallest(sets).tolist() == [3, 255]


def test_sizes_and_numbers_are_uniform_over_all_that_the_protocol_has():
    """4,000 sets: each of 15 sizes is expected 267 times, with a standard deviation of 16."""
    sets = draw_multisets(4000, smallest=2, largest=16, seed=0)
    counts = sets.ptr.diff().bincount(minlength=17)
    assert counts[:2].tolist() == [0, 0]
    assert counts[2:].min() > 200
    assert counts[2:].max() < 334
    assert sets.values.unique().tolist() == list(range(256))


def test_equal_seeds_draw_equal_sets_and_others_do_not():
    one, same, other = (draw_multisets(50, smallest=2, largest=16, seed=seed) for seed in (1, 1, 2))
    assert lists(one) == lists(same)
    assert lists(one) != lists(other)


def test_shuffling_and_taking_leave_the_answers():
    sets = draw_multisets(50, smallest=2, largest=16, seed=0)
    chosen = torch.tensor([7, 3, 3, 40])
    part = sets.take(chosen).shuffled(torch.Generator().manual_seed(0))
    assert torch.equal(second_smallest(part), second_smallest(sets)[chosen])
    assert [sorted(numbers) for numbers in lists(part)] == [sorted(lists(sets)[i]) for i in chosen]
    assert lists(part) != [lists(sets)[i] for i in chosen]


def test_bits_are_the_digits_and_lead_back_to_the_number():
    numbers = torch.arange(256)
    assert ["".join(str(int(bit)) for bit in row) for row in bits_of(numbers)] == [f"{n:08b}" for n in range(256)]
    assert torch.equal(numbers_of(bits_of(numbers)), numbers)


def test_a_set_without_a_second_number_is_refused():
    with pytest.raises(ValueError, match="a second smallest needs 2"):
        draw_multisets(1, smallest=1, largest=16, seed=0)
