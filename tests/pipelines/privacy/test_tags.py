from dataclasses import replace

from pipelines.privacy.claim import Protection
from pipelines.privacy.tags import in_brief, tags_of


def test_a_column_names_unit_epsilon_delta_and_accountant_and_rounds_up(released: Protection) -> None:
    assert in_brief(tags_of(released)) == "user_day: epsilon 0.999, delta 1e-06 (PLD 1.0)"


def test_a_person_is_named_with_the_span(released: Protection) -> None:
    person = replace(released, claim=replace(released.claim, unit="user", span="2020 Q3"))
    assert in_brief(tags_of(person)).startswith("user over 2020 Q3: epsilon")


def test_without_a_promise_there_is_a_dash_and_no_tag() -> None:
    assert tags_of(None) == {}
    assert in_brief({"flockcast.model": "gru"}) == "-"


def test_tags_say_which_counts_a_version_was_scored_on(released: Protection, dp_sgd: Protection) -> None:
    assert tags_of(released)["privacy.scored_on"] == "released counts"
    assert "does not cover" in tags_of(dp_sgd)["privacy.scored_on"]
