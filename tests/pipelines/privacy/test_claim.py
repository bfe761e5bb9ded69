import pytest

from pipelines.privacy.claim import Claim, Protection, rounded_up
from pipelines.privacy.mechanisms import (
    GaussianRelease,
    GeometricRelease,
    Mechanism,
    PrivateTraining,
    RandomStopping,
    from_record,
    to_record,
)

TRAINING = PrivateTraining(noise_multiplier=1.1, sample_rate=0.082, steps=486, max_grad_norm=0.1, group_size=7)
MECHANISMS = [
    GaussianRelease(sensitivity=48**0.5, scale=29.3),
    GeometricRelease(sensitivity=1, scale=0.7),
    TRAINING,
    RandomStopping(trial=TRAINING, eta=1.0, gamma=0.1),
]


@pytest.mark.parametrize("mechanism", MECHANISMS, ids=lambda mechanism: mechanism.kind)
def test_a_mechanism_is_the_same_when_read_back(mechanism: Mechanism) -> None:
    assert from_record(to_record(mechanism)) == mechanism


@pytest.mark.parametrize("changed", [{"noise_multiplier": "0"}, {"max_grad_norm": "inf"}, {"sample_rate": "1.5"}])
def test_a_record_of_a_training_that_protects_nobody_is_refused(changed: dict[str, str]) -> None:
    with pytest.raises(ValueError):
        from_record({**to_record(TRAINING), **changed})


def test_a_record_that_lacks_a_number_is_refused_by_name() -> None:
    record = to_record(TRAINING)
    del record["noise_multiplier"]
    with pytest.raises(ValueError, match="noise_multiplier"):
        from_record(record)


def claim(**changes: object) -> Claim:
    fields: dict[str, object] = {
        "unit": "slot",
        "relation": "zero out",
        "epsilon": 8.401,
        "delta": 1e-6,
        "accountant": "PLD",
        "mechanism": TRAINING,
    }
    return Claim(**{**fields, **changes})  # type: ignore[arg-type]


def test_a_sentence_names_unit_relation_delta_accountant_and_sampling() -> None:
    sentence = claim(assumptions=("nobody lies",)).sentence
    parts = ["one time slot", "8.41", "1e-06", "zero out", "PLD", "Poisson", "0.082", "486 steps", "nobody lies"]
    assert [part for part in parts if part not in sentence] == []


def test_a_person_is_protected_over_a_named_span() -> None:
    assert "one person's data over 2020 Q3" in claim(unit="user", span="2020 Q3").sentence


@pytest.mark.parametrize(
    ("spent", "shown"), [(1.0, "1"), (0.9701, "0.971"), (8.401, "8.41"), (123.2, "124"), (0.0, "0"), (0.001, "0.001")]
)
def test_an_epsilon_is_never_shown_below_what_was_spent(spent: float, shown: str) -> None:
    assert rounded_up(spent) == shown


def test_a_protection_is_the_same_when_read_back() -> None:
    protection = Protection(claim(assumptions=("a", "b")), 7, "ab" * 32, "run-1", "released_input")
    assert Protection.from_json(protection.to_json()) == protection
    assert protection.tags["privacy.unit"] == "slot"
