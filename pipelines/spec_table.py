"""What the tables of a spec have in common: no key that is not known, and counts that may be `auto`."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict


class Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


def _auto_or_count(what: str) -> BeforeValidator:
    """Checked before pydantic tries the union, which would complain once for each of its members."""

    def check(value: Any) -> Any:
        if value != "auto" and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
            raise ValueError(f"is no number of {what}; allowed: a whole number from 1, or 'auto'")
        return value

    return BeforeValidator(check)


Steps = Annotated[int | Literal["auto"], _auto_or_count("steps")]
BatchSize = Annotated[int | Literal["auto"], _auto_or_count("samples")]
