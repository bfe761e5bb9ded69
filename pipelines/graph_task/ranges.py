"""Which steps a model learns from, stops by and is judged on.

A sample is a step t, the last that the model reads. Of links the target is step t + 1, of labels step t itself.
Shares are cut to whole steps as in the code released with EvolveGCN (arXiv:1902.10191): with the last step m,
validation begins at floor(m * training share) and the test at floor(m * (training + validation share)).
"""

import math
from dataclasses import dataclass

from pipelines.errors import SpecError
from pipelines.spec import Split


@dataclass(frozen=True)
class SampleRanges:
    """Half-open ranges of samples: training [first, train_end), validation [train_end, validation_end), test to `end`.

    What is learnt of features sees the steps [0, train_end) alone.
    """

    first: int
    train_end: int
    validation_end: int
    end: int

    @property
    def training(self) -> range:
        return range(self.first, self.train_end)

    @property
    def validation(self) -> range:
        return range(self.train_end, self.validation_end)

    @property
    def test(self) -> range:
        return range(self.validation_end, self.end)


def sample_ranges(steps: int, split: Split, *, window: int, ahead: int) -> SampleRanges:
    """The ranges for `steps` snapshots when the target lies `ahead` steps (0 or 1) after the last one read.

    Raises SpecError where a range would be empty.
    """
    last, end = steps - 1, steps - ahead
    whole = split.test >= 1
    validation_end = end - int(split.test) if whole else _floor(last * (1 - split.test))
    if split.validation >= 1:
        train_end = validation_end - int(split.validation)
    else:
        train_end = _floor(last * (1 - split.validation - (split.test / steps if whole else split.test)))
    ranges = SampleRanges(window - 1, train_end, validation_end, end)
    for name in ("training", "validation", "test"):
        if len(getattr(ranges, name)) == 0:
            raise SpecError(
                f"task: {steps} snapshots with a window of {window} leave no step for {name} "
                f"(training {_words(ranges.training)}, validation {_words(ranges.validation)}, "
                f"test {_words(ranges.test)}); shorten task.window, change task.split, or load a longer history"
            )
    return ranges


def _floor(position: float) -> int:
    """0.7 + 0.1 is a little less than 0.8, which must not cost a step."""
    return math.floor(position + 1e-9)


def _words(steps: range) -> str:
    return f"{steps.start} to {steps.stop - 1}" if len(steps) else "none"
