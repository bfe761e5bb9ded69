"""What can be wrong with data that a person hands us."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from data.dataset import Rejections


class DataError(Exception):
    """The data can't be used as it is; the message says what is wrong, where, and what to do."""


class StoreProblem(DataError):
    """The store can't be read or written; nothing half-written is left behind."""


class TooManyRejected(DataError):
    """More rows were rejected than the spec allows; `rejections` has the counts and examples."""

    def __init__(self, message: str, rejections: "Rejections") -> None:
        super().__init__(message)
        self.rejections = rejections
