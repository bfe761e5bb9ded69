import math

import numpy as np
import pytest
import torch

from data import distance_graph
from data.distance_graph import distance_km, kernel_graph, nearest_graph

PARIS, LONDON, NEW_YORK = [48.8566, 2.3522], [51.5074, -0.1278], [40.7128, -74.0060]
CITIES = np.array([PARIS, LONDON, NEW_YORK])


@pytest.fixture
def places():
    rng = np.random.default_rng(0)
    return np.stack([rng.uniform(48, 49, 40), rng.uniform(2, 3, 40)], axis=1)


def test_distances_are_the_published_ones():
    """Paris to London 344 km, London to New York 5,570 km."""
    km = distance_km(CITIES, CITIES)
    assert km[0, 1] == pytest.approx(344, abs=1)
    assert km[1, 2] == pytest.approx(5570, abs=2)
    np.testing.assert_allclose(km, km.T)


def test_a_quarter_of_the_globe_is_a_quarter_of_its_circumference():
    pole, equator = np.array([[90.0, 0.0]]), np.array([[0.0, 77.0]])
    assert distance_km(pole, equator).item() == pytest.approx(6371.0088 * math.pi / 2)
    assert distance_km(np.array([[0.0, 179.9]]), np.array([[0.0, -179.9]])).item() == pytest.approx(22.24, abs=0.01)


@pytest.mark.parametrize("block", [7, 1024])
def test_the_kernel_joins_near_places_with_its_own_weight(places, block, monkeypatch):
    """Second way: every pair in a loop."""
    monkeypatch.setattr(distance_graph, "BLOCK", block)
    graph = kernel_graph(places, sigma_km=20, threshold=0.1)
    km = distance_km(places, places)
    expected = {
        (i, j): math.exp(-((km[i, j] / 20) ** 2))
        for i in range(40)
        for j in range(40)
        if i != j and math.exp(-((km[i, j] / 20) ** 2)) >= 0.1
    }
    found = dict(zip(map(tuple, graph.edge_index.T.tolist()), graph.edge_weight.tolist(), strict=True))
    assert found == pytest.approx(expected, rel=1e-6)
    assert graph.nodes.tolist() == list(range(40))


@pytest.mark.parametrize("block", [7, 1024])
def test_each_place_hears_of_its_nearest_others(places, block, monkeypatch):
    monkeypatch.setattr(distance_graph, "BLOCK", block)
    graph = nearest_graph(places, neighbours=3)
    km = distance_km(places, places)
    for i in range(40):
        others = sorted((j for j in range(40) if j != i), key=lambda j: km[j, i])
        assert set(graph.edge_index[0][graph.edge_index[1] == i].tolist()) == set(others[:3])
    assert torch.equal(graph.edge_weight, torch.ones(120))


def test_two_places_at_the_same_spot_are_each_other_s_nearest_and_not_their_own():
    assert nearest_graph(np.array([PARIS, PARIS, NEW_YORK]), neighbours=1).edge_index.tolist() == [[0, 0, 1], [1, 2, 0]]


def test_a_missing_coordinate_names_its_node():
    with pytest.raises(ValueError, match="node 1 has latitude nan"):
        nearest_graph(np.array([PARIS, [np.nan, 2.0]]), neighbours=1)
    with pytest.raises(ValueError, match="latitude first"):
        kernel_graph(np.array([PARIS, [100.0, 2.0]]), sigma_km=1)


def test_numbers_that_make_no_graph_are_told():
    with pytest.raises(ValueError, match="can't have 3 nearest others among 3 nodes; ask for 1 to 2"):
        nearest_graph(CITIES, neighbours=3)
    with pytest.raises(ValueError, match="sigma_km 0 must be above 0"):
        kernel_graph(CITIES, sigma_km=0)
    with pytest.raises(ValueError, match="threshold 0 above 0"):
        kernel_graph(CITIES, sigma_km=1, threshold=0)
