import math

import numpy as np
import pytest

from pipelines.privacy.mixture import Mixture

MIXTURES = [Mixture(1.0, 0.02, 1), Mixture(0.4, 0.5, 1), Mixture(4.0, 0.082, 54), Mixture(1.0, 1.0, 1)]


@pytest.mark.parametrize("mixture", MIXTURES, ids=str)
def test_cells_are_cut_where_the_loss_is_on_the_grid(mixture: Mixture) -> None:
    interval = 0.013
    lowest, x = mixture.cut(interval)
    finite = np.isfinite(x)
    wanted = (lowest + np.arange(len(x))) * interval
    assert finite[1:].all()
    assert mixture.loss(x[finite]) == pytest.approx(wanted[finite], abs=1e-9)


def test_a_cell_without_outcomes_begins_at_minus_infinity() -> None:
    lowest, x = Mixture(1.0, 0.5, 1).cut(0.3)  # no loss is below ln 0.5
    assert lowest * 0.3 < math.log(0.5)
    assert x[0] == -math.inf


@pytest.mark.parametrize("mixture", MIXTURES, ids=str)
def test_cells_and_what_is_outside_make_one(mixture: Mixture) -> None:
    _, x = mixture.cut(0.05)
    without, with_unit = (float(np.exp(cells).sum()) for cells in mixture.log_cells(x))
    outside = mixture.outside(x[0], x[-1])
    assert without + outside[0] + outside[1] == pytest.approx(1, abs=1e-12)
    assert with_unit + outside[2] + outside[3] == pytest.approx(1, abs=1e-12)
    assert outside[0] + outside[3] < 1e-20  # of the losses that would be infinite
