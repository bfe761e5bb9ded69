"""Static graphs from where the nodes are: near nodes are joined.

The kernel is that of Shuman et al., The Emerging Field of Signal Processing on Graphs, arXiv:1211.0053, equation 1.
Distances are great-circle kilometres on a sphere of the Earth's mean radius, worked out in blocks of rows, so that the
N^2 of them are never held at once.
"""

from collections.abc import Iterator

import numpy as np

from data.snapshots import Snapshot, whole_graph

EARTH_RADIUS_KM = 6371.0088
BLOCK = 1024


def distance_km(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Great-circle distances of `one` [n, 2] to `other` [m, 2], latitude and longitude in degrees: [n, m] km."""
    (lat1, lon1), (lat2, lon2) = np.radians(one).T, np.radians(other).T
    half_lat, half_lon = (lat1[:, None] - lat2) / 2, (lon1[:, None] - lon2) / 2
    chord = np.sin(half_lat) ** 2 + np.cos(lat1)[:, None] * np.cos(lat2) * np.sin(half_lon) ** 2
    return 2 * EARTH_RADIUS_KM * np.arcsin(np.sqrt(chord.clip(0, 1)))


def kernel_graph(coordinates: np.ndarray, *, sigma_km: float, threshold: float = 0.1) -> Snapshot:
    """Nodes joined where exp(-(distance / sigma)^2) is `threshold` or more, which is then the weight; no self-loops.

    `coordinates` [N, 2] are latitude and longitude in degrees; both directions of an edge are there.
    Raises ValueError where one is missing, `sigma_km` is not above 0, or `threshold` not in (0, 1].
    """
    if not sigma_km > 0 or not 0 < threshold <= 1:
        raise ValueError(f"sigma_km {sigma_km:g} must be above 0, and threshold {threshold:g} above 0 and at most 1")
    sources, targets, weights = [], [], []
    for first, km in _blocks(coordinates):
        weight = np.exp(-((km / sigma_km) ** 2))
        source, target = np.nonzero(weight >= threshold)
        sources.append(source + first)
        targets.append(target)
        weights.append(weight[source, target])
    return whole_graph(len(coordinates), np.concatenate(sources), np.concatenate(targets), np.concatenate(weights))


def nearest_graph(coordinates: np.ndarray, *, neighbours: int) -> Snapshot:
    """An edge of weight 1 to each node from its `neighbours` nearest other nodes; of equally near ones the first.

    `coordinates` [N, 2] are latitude and longitude in degrees. Nearness is not mutual, so the graph is directed.
    Raises ValueError where a coordinate is missing or there are not that many other nodes.
    """
    count = len(coordinates)
    if not 1 <= neighbours < count:
        raise ValueError(f"a node can't have {neighbours} nearest others among {count} nodes; ask for 1 to {count - 1}")
    nearest = [np.argsort(km, axis=1, kind="stable")[:, :neighbours] for _, km in _blocks(coordinates)]
    source = np.concatenate(nearest).ravel()
    target = np.repeat(np.arange(count), neighbours)
    order = np.lexsort((target, source))
    return whole_graph(count, source[order], target[order], np.ones(len(order)))


def _blocks(coordinates: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """The number of the first row, and the km of some rows to all nodes; a node is infinitely far from itself."""
    _require_coordinates(coordinates)
    for first in range(0, len(coordinates), BLOCK):
        km = distance_km(coordinates[first : first + BLOCK], coordinates)
        rows = np.arange(len(km))
        km[rows, rows + first] = np.inf
        yield first, km


def _require_coordinates(coordinates: np.ndarray) -> None:
    if coordinates.ndim != 2 or coordinates.shape[1] != 2 or not len(coordinates):
        raise ValueError(f"coordinates have the shape {list(coordinates.shape)}; they must be [nodes, 2]")
    latitude, longitude = coordinates.T
    wrong = ~(np.abs(latitude) <= 90) | ~(np.abs(longitude) <= 360)
    if wrong.any():
        at = int(wrong.argmax())
        raise ValueError(
            f"node {at} has latitude {latitude[at]} and longitude {longitude[at]}; "
            "every node of a distance graph needs both, in degrees, latitude first"
        )
