"""What is made of the values of series once they are on the clock, and what must then hold."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
import pandas as pd

from data.clock import in_zone
from data.errors import DataError
from data.panel import Panel


@dataclass(frozen=True)
class Stretch:
    """A stretch in which the values of a variable mean 'not reported'; `end` is the first instant that counts again."""

    variable: str
    start: datetime | None = None
    end: datetime | None = None


@dataclass(frozen=True)
class Treatment:
    """`counts` are never negative; `difference` turns running totals into what came anew in each step."""

    counts: bool = False
    difference: bool = False
    unobserved: Sequence[Stretch] = ()


def treat(panel: Panel, treatment: Treatment) -> Panel:
    """Hide, then difference, then check.

    Raises DataError for a stretch of an unknown variable, a series without any value, a negative count.
    """
    for stretch in treatment.unobserved:
        panel = _hide(panel, stretch)
    if treatment.difference:
        panel = _difference(panel)
    _require_observed(panel)
    if treatment.counts:
        _require_counts(panel)
    return panel


def _hide(panel: Panel, stretch: Stretch) -> Panel:
    if stretch.variable not in panel.variables:
        known = ", ".join(panel.variables)
        raise DataError(f"data.unobserved names the variable {stretch.variable!r}, but the variables are: {known}")
    mask = panel.mask.copy()
    mask[steps_of(stretch, panel.index), :, panel.variables.index(stretch.variable)] = False
    return replace(panel, mask=mask, values=np.where(mask, panel.values, np.nan))


def steps_of(stretch: Stretch, index: pd.DatetimeIndex) -> np.ndarray:
    """Which steps of `index` begin in the stretch, [T]."""
    within = np.ones(len(index), dtype=bool)
    if stretch.start:
        within &= index >= pd.Timestamp(in_zone(stretch.start, str(index.tz)))
    if stretch.end:
        within &= index < pd.Timestamp(in_zone(stretch.end, str(index.tz)))
    return within


def _difference(panel: Panel) -> Panel:
    """An increment is observed only where both of its ends are; the first step has none."""
    values = np.full_like(panel.values, np.nan)
    values[1:] = np.diff(panel.values, axis=0)
    return replace(panel, values=values, mask=~np.isnan(values))


def _require_observed(panel: Panel) -> None:
    silent = [panel.nodes[n] for n in np.flatnonzero(~panel.mask.any(axis=(0, 2)))]
    if silent:
        others = f" (and {len(silent) - 1} more)" if len(silent) > 1 else ""
        raise DataError(
            f"series {silent[0]!r}{others} has no value at any of {len(panel.index):,} steps; take it out of the data "
            "(columns.ignore of a wide file)"
        )


def _require_counts(panel: Panel) -> None:
    negative = np.argwhere(panel.mask & (np.nan_to_num(panel.values) < 0))
    if len(negative):
        t, n, f = negative[0]
        values = "value" if len(negative) == 1 else "values"
        raise DataError(
            f"variable {panel.variables[f]!r} has {len(negative):,} negative {values}, first at "
            f"{panel.index[t].isoformat(' ')}, series {panel.nodes[n]!r}: {panel.values[t, n, f]:g}; "
            'counts are never negative: mend them, or allow them with values = "real"'
        )
