"""Noisy sums and their parts agree after the projection, and it adds no bias."""

import numpy as np
import pytest

from data.consistency import depth, hierarchy, make_consistent

NODES = ["total", "north", "n1", "n2", "south"]
SUMS = {"total": ["north", "south"], "north": ["n1", "n2"]}


def test_the_structure_follows_sums_of_sums() -> None:
    assert hierarchy(NODES, SUMS).tolist() == [[1, 1, 1], [1, 1, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]]
    assert depth(hierarchy(NODES, SUMS)) == 3
    assert depth(hierarchy(NODES, {})) == 1


def test_projected_counts_add_up_unbiased_and_closer_to_the_truth() -> None:
    structure = hierarchy(NODES, SUMS)
    draw = np.random.default_rng(0)
    truth = draw.poisson(5, (4000, 3)) @ structure.T  # [T, N]
    noisy = truth + draw.normal(0, 10, truth.shape)
    found = make_consistent(noisy, structure)
    np.testing.assert_allclose(found[:, 0], found[:, 1] + found[:, 4])
    np.testing.assert_allclose(found[:, 1], found[:, 2] + found[:, 3])
    assert (found < 0).any(), "signed values are kept"
    assert abs((found - truth).mean(axis=0)).max() < 5 * 10 / np.sqrt(4000)
    assert ((found - truth) ** 2).mean() < 0.7 * 100, "3 free numbers of 5: three fifths of the noise"


def test_counts_that_add_up_stay_as_they_are() -> None:
    structure = hierarchy(NODES, SUMS)
    counts = np.random.default_rng(0).poisson(9, (7, 2, 3)) @ structure.T
    np.testing.assert_allclose(make_consistent(counts, structure), counts)


@pytest.mark.parametrize(
    ("sums", "message"),
    [
        ({"total": ["west"]}, "'west' is not among the nodes"),
        ({"north": ["n1", "total"], "total": ["north"]}, "sum of itself"),
        ({"total": ["north", "n1"], "north": ["n1", "n2"]}, "counts a node twice"),
    ],
)
def test_impossible_sums_are_refused(sums: dict[str, list[str]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        hierarchy(NODES, sums)
