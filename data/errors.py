"""What can be wrong with data that a person hands us."""


class DataError(Exception):
    """The data can't be used as it is; the message says what is wrong, where, and what to do."""


class StoreProblem(DataError):
    """The store can't be read or written; nothing half-written is left behind."""
