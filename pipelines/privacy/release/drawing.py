"""Noise on every cell of the domain, zeros too, and the panel and flows that are made of the noisy cells.

Of trips two things can be released. "nodes": inflow and outflow of every node are cells of their own, and a trip is in
two of them; their noise has variance 2 k c against the k c of flows (for the same promise), whatever the number of
nodes. "flows": the flow of every pair is a cell, and inflow and outflow are sums over N of them: their noise adds up to
N k c, and inflow is counted in the step of departure, since a flow has no other. So flows are released only where a
task or a model reads them. Sums, as all that is made of a release, cost nothing.
"""

import numpy as np
import polars as pl

from data.consistency import make_consistent
from data.flow_panel import pair_panel
from data.integer_noise import add_discrete_gaussian, add_geometric
from data.panel import Panel
from pipelines.privacy.calibration import (
    gaussian_scale,
    geometric_scale,
    release_of_least_variance,
    variance,
)
from pipelines.privacy.mechanisms import GaussianRelease, GeometricRelease
from pipelines.privacy.release.domain import Domain
from pipelines.privacy.sensitivity import Sensitivity
from pipelines.privacy.spec import ReleasePrivacy

Release = GaussianRelease | GeometricRelease
FLOW = "flow"


def mechanism_of(privacy: ReleasePrivacy, moved: Sensitivity) -> Release:
    """The least noise that keeps the promise for a unit that moves the cells so far."""
    match privacy.noise:
        case "gaussian":
            scale = gaussian_scale(sensitivity=moved.l2, epsilon=privacy.epsilon, delta=privacy.delta)
            return GaussianRelease(sensitivity=moved.l2, scale=scale)
        case "geometric":
            scale = geometric_scale(sensitivity=moved.l1, epsilon=privacy.epsilon)
            return GeometricRelease(sensitivity=moved.l1, scale=scale)
        case "auto":
            return release_of_least_variance(l1=moved.l1, l2=moved.l2, epsilon=privacy.epsilon, delta=privacy.delta)


def noisy(counts: np.ndarray, released: np.ndarray, mechanism: Release) -> np.ndarray:
    """Cells [T, N, K] float64, which hold whole numbers: noisy where `released`, NaN elsewhere."""
    add = add_discrete_gaussian if isinstance(mechanism, GaussianRelease) else add_geometric
    cells = np.full(counts.shape, np.nan)
    cells[released] = add(counts[released], scale=mechanism.scale)
    return cells


def consistent(cells: np.ndarray, domain: Domain) -> np.ndarray:
    """Cells that add up as the spec says of nested nodes; a step and variable without all of its nodes stays."""
    if not domain.privacy.sums:
        return cells
    whole = ~np.isnan(cells).any(axis=1)  # [T, K]
    moved = np.moveaxis(cells, 1, 2).copy()  # [T, K, N]
    moved[whole] = make_consistent(moved[whole], domain.structure)
    return np.moveaxis(moved, 2, 1)


def variances(domain: Domain, mechanism: Release) -> dict[str, float]:
    """Variance of the noise in one value of each variable; of flows also that in the flow of a pair.

    Where nodes are made to add up it is the mean over nodes: a projection of N counts on L leaves keeps L parts in N of
    the noise. The report takes it out of errors, so that too large a figure would make a model look too good.
    """
    one = variance(mechanism)
    if domain.counts == "flows":
        return {name: len(domain.nodes) * one for name in domain.variables} | {FLOW: one}
    if not domain.privacy.sums:
        return dict.fromkeys(domain.variables, one)
    nodes, leaves = domain.structure.shape
    return dict.fromkeys(domain.variables, one * leaves / nodes)


def assembled(cells: np.ndarray, domain: Domain) -> tuple[Panel, pl.DataFrame | None]:
    """The panel of the cells, and the flows where these are what was released (without those that came out as 0)."""
    if domain.counts != "flows":
        return _panel(domain, cells), None
    sums = np.stack([cells.sum(axis=1), cells.sum(axis=2)], axis=-1)  # inflow and outflow [T, N, 2]
    step, source, target = np.nonzero(cells)
    times = pl.Series("time", domain.index.as_unit("us").asi8).cast(pl.Datetime("us", "UTC"))
    names = pl.Series(domain.nodes, dtype=pl.String)
    flows = pl.DataFrame(
        {
            "time": times.dt.convert_time_zone(domain.spec.data.timezone).gather(step),
            "source": names.gather(source),
            "target": names.gather(target),
            "weight": cells[step, source, target].astype(np.int64),
        }
    )
    return _panel(domain, sums), flows.sort("time", "source", "target")


def disassembled(panel: Panel, flows: pl.DataFrame | None) -> np.ndarray:
    """The cells [T, N, K] that `assembled` made these of."""
    return panel.values if flows is None else pair_panel(flows, panel).values


def drowned(cells: np.ndarray, noise: float) -> str | None:
    """A warning where `noise`, its standard deviation, is above the median size of released counts that are not 0."""
    sizes = np.abs(cells[~np.isnan(cells) & (cells != 0)])
    usual = float(np.median(sizes)) if sizes.size else 0.0
    if noise <= usual:
        return None
    return (
        f"WARNING: the noise has a standard deviation of {noise:.3g}, and half of the released counts are within "
        f"{usual:.3g} of zero: there is next to nothing to learn from them one by one; take longer steps, fewer and "
        "larger zones, a lower bound of trips per unit, or more epsilon"
    )


def _panel(domain: Domain, values: np.ndarray) -> Panel:
    return Panel(
        values=values,
        mask=~np.isnan(values),
        index=domain.index,
        nodes=domain.nodes,
        variables=domain.variables,
        interval=domain.spec.data.interval,
        static=domain.static,
    )
