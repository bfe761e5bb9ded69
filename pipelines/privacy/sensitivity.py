"""How far one privacy unit can move a set of counts: what the noise is measured against."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Sensitivity:
    """The largest change of all released counts when one unit is added or removed."""

    l1: int  # Δ1, in trips or presences
    l2: float  # Δ2

    def __post_init__(self) -> None:
        if self.l1 < 1 or not 0 < self.l2 <= self.l1 + 1e-9:
            raise ValueError(f"sensitivities of {self.l1} and {self.l2} belong to no counts")


def of_trips(*, per_unit: int, per_cell: int, kinds: int = 1) -> Sensitivity:
    """At most `per_unit` trips k of a unit count, at most `per_cell` c of them in one cell of each of `kinds` kinds.

    Flows are one kind of cell: Δ1 = k, Δ2 = sqrt(k c), reached by k/c cells with c trips each. Where c does not divide
    k the true worst case is a little less (floor(k/c) cells of c and one of the rest), and k c over-counts it. Outflow
    and inflow are two kinds: a trip counts in the cell of its departure and in that of its arrival, so both sums are
    doubled, Δ1 = 2k and Δ2 = sqrt(2 k c).
    """
    per_cell = min(per_cell, per_unit)
    return Sensitivity(l1=kinds * per_unit, l2=math.sqrt(kinds * per_unit * per_cell))


def of_presence(*, slots: int, nested: int = 1) -> Sensitivity:
    """A unit that may be present in `slots` s steps, in one node at a time or in `nested` m nodes that hold each other.

    Each adds at most 1 to a count: Δ1 = m s and Δ2 = sqrt(m s).
    """
    return Sensitivity(l1=nested * slots, l2=math.sqrt(nested * slots))
