"""Real processes at one ledger: nobody gets what another has, nothing gets lost."""

from collections.abc import Callable

import pytest

from pipelines.privacy.ledger import Ledger


def test_processes_that_race_for_the_last_budget_never_overrun_it(ledger: Ledger, race: Callable[..., None]) -> None:
    race(ledger, processes=4, rounds=30)


@pytest.mark.slow
def test_twenty_processes_racing_a_thousand_times_never_overrun_a_budget(
    ledger: Ledger, race: Callable[..., None]
) -> None:
    race(ledger, processes=20, rounds=1000)
