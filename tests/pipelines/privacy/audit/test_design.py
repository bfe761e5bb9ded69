"""What of an audit is fixed in advance, and how an outcome is judged."""

from dataclasses import replace

import pytest

from pipelines.errors import SpecError
from pipelines.privacy.audit.bound import lower_bound
from pipelines.privacy.audit.design import Design, hash_of_seed, judge
from pipelines.privacy.audit.experiment import audit
from pipelines.spec import load_spec

DESIGN = Design(
    unit="window", canaries=1000, guesses=100, delta=1e-6, score="loss", seed_hash=hash_of_seed(1), canary_hash="c" * 64
)


def test_looking_at_several_bounds_divides_the_chance_of_a_false_alarm_among_them():
    five = replace(DESIGN, tries=5)
    assert judge(five, 90, claim=1.0).bound == lower_bound(m=1000, r=100, v=90, delta=1e-6, p=0.01)
    assert judge(five, 90, claim=1.0).bound < judge(DESIGN, 90, claim=1.0).bound


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"guesses": 101}, "even number"),
        ({"guesses": 0}, "even number"),
        ({"guesses": 1002}, "even number"),
        ({"p": 0.0}, "between 0 and 1"),
        ({"tries": 0}, "at least once"),
        ({"delta": 1.0}, "that of the claim"),
    ],
)
def test_a_design_that_cannot_be_carried_out_is_refused(change, said):
    with pytest.raises(ValueError, match=said):
        replace(DESIGN, **change)


def test_an_audit_of_nothing_claimed_has_a_bound_and_no_violation():
    control = judge(DESIGN, 100, claim=None)
    assert control.bound == control.ceiling > 3.4
    assert control.verdict == "vacuous"


def test_the_record_is_text_and_holds_no_seed():
    record = DESIGN.record()
    assert all(isinstance(value, str) for value in record.values())
    assert record["guesses"] == "100"
    assert record["seed_hash"] == hash_of_seed(1) != hash_of_seed(2)


@pytest.mark.parametrize(("canaries", "guesses"), [(None, 7), (100, 102)])
def test_guesses_that_can_not_be_halved_are_refused_before_anything_is_read(canaries: int | None, guesses: int) -> None:
    spec = load_spec("paris-private")
    with pytest.raises(SpecError, match=f"--guesses {guesses}: half of them"):
        audit(spec, canaries=canaries, guesses=guesses, say=print)
