"""The [privacy] table of a spec: what is promised to the people in the data, and how."""

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from pipelines.spec_table import BatchSize, Table


class PrivacyBase(Table):
    epsilon: float = Field(gt=0, allow_inf_nan=False, description="what one release or training may cost one unit")
    delta: float = Field(1e-6, gt=0, lt=1, description="chance that epsilon fails; at most 1 in 10 times the units")
    data_set: str | None = Field(
        None, description="under which name the ledger keeps the budget of these data; the experiment's by default"
    )
    tenant: str = Field("default", description="whose budget it is")


class ReleasePrivacy(PrivacyBase):
    """Counts are bounded, noised once and stored; everything later reads that release and costs nothing more."""

    mechanism: Literal["release"]
    unit: Literal["trip", "user_day", "user_week", "user"] = Field(description="whose data count as one")
    noise: Literal["auto", "gaussian", "geometric"] = Field(
        "auto", description="exact integer noise; auto takes what has the smaller variance"
    )
    counts: Literal["auto", "nodes", "flows"] = Field(
        "auto",
        description="of trips and od: inflow and outflow of every node, or the flow of every pair, whose sums are then "
        "inflow (in the step of departure) and outflow; auto is flows where the task or the model reads them",
    )
    person: str | None = Field(
        None, description="of trips: the column that says whose a trip is; units of users need it"
    )
    trips_per_unit: int | None = Field(None, ge=1, description="of trips: how many of a unit count, the others do not")
    trips_per_cell: int = Field(
        1,
        ge=1,
        description="of trips: how many of a unit count in one released cell: a step and a node, or a step and a pair",
    )
    one_place_per_step: bool = Field(
        False,
        description="of long and wide: you vouch that a person counts in one node at a time, once a step",
    )
    nested: int = Field(
        1, ge=1, description="of long and wide: in how many nodes that hold each other a person counts at a time"
    )
    sums: dict[str, list[str]] = Field(
        {}, description="of long and wide: nodes that are the sum of other nodes; what is released is made to add up"
    )
    revised: dict[str, int] = Field(
        {},
        description="periods whose records were corrected or came late, as { '2023-01-05' = 1 }: a number that is new "
        "releases the period anew and charges it again",
    )
    span: str | None = Field(None, description="of unit `user`: what the budget's time is called, such as '2020 Q3'")

    @model_validator(mode="after")
    def unit_and_person_go_together(self) -> Self:
        if self.unit == "user" and not self.span:
            raise ValueError("unit 'user' protects a person over a named span; name it: span = '2020 Q3'")
        if self.unit != "user" and self.span:
            raise ValueError(f"span is of unit 'user'; unit {self.unit!r} says its time itself")
        return self


def _number_or_table(value: Any) -> Any:
    """Checked before pydantic tries the union, which would complain once for each of its members."""
    numbers = value.values() if isinstance(value, dict) else [value]
    if not numbers or any(isinstance(n, bool) or not isinstance(n, int | float) or not abs(n) < 1e30 for n in numbers):
        raise ValueError("is no finite number, nor a table of one for each variable or node")
    return value


PublicNumber = Annotated[float | dict[str, float], BeforeValidator(_number_or_table)]


class PublicScale(Table):
    """What scales the data for a private network: constants that are known without looking at the data."""

    location: PublicNumber = Field(
        0.0, description="about the middle: one number, or one for each variable, or for each node"
    )
    spread: PublicNumber = Field(
        description="about how far values are from the location: one number, or one for each variable, or for each node"
    )

    @field_validator("spread")
    @classmethod
    def is_spread(cls, value: PublicNumber) -> PublicNumber:
        given = value if isinstance(value, dict) else {"it": value}
        wrong = [name for name, number in given.items() if not number > 0]
        if wrong:
            raise ValueError(f"is no spread: {wrong[0]} must be above 0")
        return value


class TrainingPrivacy(PrivacyBase):
    """DP-SGD: the network is trained on raw data with clipped, noised gradients. Its forecasts still read raw input."""

    mechanism: Literal["dp_sgd"]
    unit: Literal["window", "slot"] = Field(description="a training window, or all windows that hold one step")
    noise_multiplier: float | Literal["auto"] = Field(
        "auto", description="noise over max_grad_norm; auto is the least that keeps to epsilon"
    )
    max_grad_norm: float = Field(0.1, gt=0, allow_inf_nan=False, description="the norm that a window is clipped to")
    batch_size: BatchSize = Field(
        "auto", description="expected windows in a step; auto is 256, or 1 in 8 of few windows"
    )
    sampling: Literal["poisson", "tiling"] = Field(
        "poisson", description="each window by itself; or disjoint windows from an offset drawn anew in every step"
    )
    public_scale: PublicScale = Field(
        description="what scales the data; the mean and spread of the data themselves would be an unprotected release"
    )

    @field_validator("noise_multiplier", mode="before")
    @classmethod
    def is_noise(cls, value: Any) -> Any:
        if value != "auto" and (not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < 1e6):
            raise ValueError("is no noise multiplier; allowed: a number above 0, or 'auto'")
        return value


Privacy = Annotated[ReleasePrivacy | TrainingPrivacy, Field(discriminator="mechanism")]
