"""Make it visible in Prefect that a step found its result ready made.

Data sets and networks are too large for Prefect's result store, and the steps keep their own by content and settings.
So a task that re-used says so by its state: `Cached`, with the reason as its message.
"""

from typing import TypeVar

from prefect.states import Completed, State

T = TypeVar("T")


def cached(value: T, why: str) -> State[T]:
    """What a task returns in place of `value` when it did not have to work for it."""
    return Completed(name="Cached", message=why, data=value)


def value_of(returned: T | State[T]) -> T:
    """The value that a task returned, whether it worked for it or not."""
    if isinstance(returned, State):
        return returned.result()  # type: ignore[no-any-return]
    return returned
