"""Where the state of a dynamic-graph model begins a window: at its start, or where the window before ended."""

from typing import Literal, TypeVar

Policy = Literal["reset", "carry", "stream"]
S = TypeVar("S")


def state_to_begin_with(policy: Policy, given: S | None, initial: S) -> S:
    """`initial` under `reset`; under `carry` and `stream` the state `given` if there is one.

    Under the latter two windows must be adjacent: a snapshot in two windows would be gone through twice. Raises
    ValueError where `reset` is given a state.
    """
    if policy == "reset" and given is not None:
        raise ValueError("policy 'reset' starts every window anew but a state was passed; use 'carry' or 'stream'")
    return initial if given is None else given
