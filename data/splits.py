"""Consecutive ranges of steps: fit on the first, choose on the second, score on the last."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Ranges:
    """Half-open ranges of steps: training `[0, train_end)`, validation up to `validation_end`, test up to `end`."""

    train_end: int
    validation_end: int
    end: int


def cut_ranges(steps: int, *, validation: float, test: float, window: int, horizon: int) -> Ranges:
    """Validation and test are a share of the steps (below 1) or a number of steps.

    Raises ValueError where a range is too short for one sample. A sample belongs to the range that holds all its
    targets; its window may reach back into the range before.
    """
    test_steps, validation_steps = _count(test, steps), _count(validation, steps)
    ranges = Ranges(steps - test_steps - validation_steps, steps - test_steps, steps)
    needed = {"training": window + horizon, "validation": horizon, "test": horizon}
    have = {"training": max(ranges.train_end, 0), "validation": validation_steps, "test": test_steps}
    for name, least in needed.items():
        if have[name] < least:
            parts = f"window {window} + horizon {horizon}" if name == "training" else f"horizon {horizon}"
            raise ValueError(
                f"the {name} range has {have[name]} of the {steps} steps, but one sample needs {least} ({parts}); "
                f"shorten task.horizon or task.window, change task.split, or load more history"
            )
    return ranges


def sample_starts(first: int, last: int, *, window: int, horizon: int, stride: int = 1) -> range:
    """Starts of the samples whose targets lie in `[first, last)`, oldest first."""
    return range(max(first - window, 0), last - window - horizon + 1, stride)


def _count(amount: float, steps: int) -> int:
    return round(amount * steps) if amount < 1 else int(amount)
