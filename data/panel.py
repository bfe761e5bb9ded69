"""The panel: several variables of several nodes on one regular clock.

Every source ends here: trips as inflow and outflow of zones, origin-destination counts likewise, series as they are.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import polars as pl


@dataclass(frozen=True)
class Panel:
    """Values `[T, N, F]` with the truth about what was observed.

    `index` is regular in `interval` (a polars duration such as "30m", "1h", "1d", "1mo") and time-zone aware.
    `static` has a column `node` in the order of `nodes`, then whatever is known of them (`label`, `latitude`, ...).
    """

    values: np.ndarray  # [T, N, F] float64, NaN where not observed
    mask: np.ndarray  # [T, N, F] bool, True where observed
    index: pd.DatetimeIndex  # [T]
    nodes: tuple[str, ...]
    variables: tuple[str, ...]
    interval: str
    static: pl.DataFrame

    def __post_init__(self) -> None:
        shape = (len(self.index), len(self.nodes), len(self.variables))
        if self.values.shape != shape or self.mask.shape != shape:
            raise ValueError(
                f"a panel of {shape[0]} steps, {shape[1]} nodes and {shape[2]} variables needs values and mask of that "
                f"shape, not {self.values.shape} and {self.mask.shape}"
            )
        if self.index.tz is None:
            raise ValueError("the index of a panel needs a time zone")
        if self.static["node"].to_list() != list(self.nodes):
            raise ValueError("the rows of `static` must be the nodes, in their order")

    @property
    def timezone(self) -> str:
        return str(self.index.tz)

    def choose(self, nodes: list[str], variables: list[str]) -> "Panel":
        """The same clock with these nodes and variables, in this order. Raises KeyError for an unknown one."""
        rows = _positions(nodes, self.nodes, "node")
        columns = _positions(variables, self.variables, "variable")
        grid = np.ix_(range(len(self.index)), rows, columns)
        return Panel(
            values=self.values[grid],
            mask=self.mask[grid],
            index=self.index,
            nodes=tuple(nodes),
            variables=tuple(variables),
            interval=self.interval,
            static=self.static[rows],
        )


def _positions(wanted: list[str], known: tuple[str, ...], kind: str) -> list[int]:
    place = {name: i for i, name in enumerate(known)}
    for name in wanted:
        if name not in place:
            raise KeyError(f"{kind} {name!r} is not among the {len(known)} of the panel")
    return [place[name] for name in wanted]
