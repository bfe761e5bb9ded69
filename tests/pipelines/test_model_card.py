"""What a reader of a model card is told, of a release and of a private training."""

import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import mlflow
import pytest

from pipelines.errors import RegistryError
from pipelines.model_card import Card, Section, card_page, registered_card
from pipelines.privacy.accounting import epsilon
from pipelines.privacy.card import audit_in_words, mechanism_in_words, not_protected
from pipelines.privacy.claim import Claim, Protection, rounded_up
from pipelines.privacy.mechanisms import GeometricRelease, RandomStopping, Unit
from pipelines.registry import client

Make = Callable[[Protection], Any]


def test_the_card_of_a_release_says_what_holds_what_does_not_and_how_to_check(
    private: Make, released: Protection
) -> None:
    world = private(released)
    card = registered_card(f"tiny@{world.registered.version}")
    for told in (
        f"Model card: tiny, version {world.registered.version}",
        released.claim.sentence,
        "integer Gaussian noise of standard deviation 29.3",
        "to an L2 norm of 6.928",
        "a person is in one zone at a time",
        "OpenDP's exact samplers",
        f"Entry 7 of run `release-1`, hash `{'ab' * 32}`",
        "`flockcast budget verify`",
        "`flockcast budget explain tiny`",
        "Not audited yet.",
        world.dataset.manifest.version,
        "to publish, cache and pass on",
    ):
        assert told in card, told


def test_the_card_of_a_private_training_says_that_forecasts_and_scores_are_raw(
    private: Make, dp_sgd: Protection
) -> None:
    private(dp_sgd)
    card = registered_card("tiny")
    for told in (
        dp_sgd.claim.sentence,
        "486 steps, each on windows taken by chance 0.082, the gradient of a window clipped to norm 0.1",
        "Gaussian noise of 4 times that norm",
        "each reads the newest raw counts",
        "they were computed on raw counts",
        "both are in many training windows",
        "operating system's cryptographic generator",
        "The noise is floating point",
        "for the house alone",
    ):
        assert told in card, told


def test_the_card_is_logged_with_the_version_as_text_and_as_a_page(private: Make, released: Protection) -> None:
    world = private(released)
    folder = Path(mlflow.artifacts.download_artifacts(run_id=world.registered.run_id, artifact_path="privacy"))
    assert {file.name for file in folder.iterdir()} == {"model_card.md", "model_card.html", "protection.json"}
    assert Protection.from_json((folder / "protection.json").read_text()) == released
    assert released.claim.sentence in (folder / "model_card.md").read_text()
    assert "Not audited yet." in (folder / "model_card.html").read_text()


def test_an_audit_after_the_registration_is_in_the_card_of_today(private: Make, dp_sgd: Protection) -> None:
    world = private(dp_sgd)
    store = client()
    store.set_model_version_tag("tiny", world.registered.version, "audit.verdict", "violated")
    store.set_model_version_tag("tiny", world.registered.version, "audit.bound", "3.2")
    store.set_model_version_tag("tiny", world.registered.version, "audit.delta", "1e-06")
    card = registered_card("tiny")
    assert "Verdict: violated; the attack got more out of the model than the claim allows" in card
    assert "of the same unit as the claim and at delta = 1e-06, is 3.2" in card


def test_an_audit_that_found_nothing_is_not_told_as_a_proof() -> None:
    assert "can refute but not prove" in audit_in_words({"audit.verdict": "consistent"})
    assert "says nothing" in audit_in_words({"audit.verdict": "vacuous"})


def test_an_audit_of_other_code_than_the_version_s_is_told_as_that() -> None:
    tags = {"audit.verdict": "consistent", "audit.git": "a" * 40, "flockcast.git": "b" * 40}
    assert "code aaaaaaaaaaaa, and this version was made by bbbbbbbbbbbb" in audit_in_words(tags)
    assert "this version was made by" not in audit_in_words({**tags, "audit.git": "b" * 40})


def test_a_model_without_a_promise_says_so_and_an_unknown_one_is_an_error(tiny: Any) -> None:
    assert "No privacy promise is made of this model." in registered_card("tiny@1")
    with pytest.raises(RegistryError, match="no model is called tinny"):
        registered_card("tinny")
    with pytest.raises(RegistryError, match="tiny has no version 99"):
        registered_card("tiny@99")


@pytest.mark.parametrize(
    ("unit", "span", "told"),
    [
        ("trip", None, "somebody with many trips is covered for each of them alone"),
        ("user_day", None, "One person's data of 7 days"),
        ("user_week", None, "One person's data of 13 weeks"),
        ("user", "2020 Q3", "One person's data of 2 spans like this"),
    ],
)
def test_a_release_says_what_a_person_over_a_longer_time_has(
    released: Protection, unit: Unit, span: str | None, told: str
) -> None:
    protection = replace(released, claim=replace(released.claim, unit=unit, span=span))
    assert told in " ".join(not_protected(protection))


def test_seven_days_cost_what_the_accountant_says_and_not_seven_times_one(released: Protection) -> None:
    words = " ".join(not_protected(released))
    spent = epsilon([released.claim.mechanism] * 7, delta=1e-6)
    assert f"7 days: epsilon = {rounded_up(spent)}," in words
    assert released.claim.epsilon < spent < 7 * released.claim.epsilon


def test_each_mechanism_is_one_sentence_with_its_own_numbers(dp_sgd: Protection) -> None:
    trial = dp_sgd.claim.mechanism
    geometric = mechanism_in_words(GeometricRelease(sensitivity=1.0, scale=1.0))
    assert "two-sided geometric noise of standard deviation 1.357" in geometric  # sqrt(2a) / (1 - a), a = 1/e
    assert "disjoint windows" in mechanism_in_words(replace(trial, sampling="tiling"))
    assert "a unit is in up to 54 windows" in mechanism_in_words(replace(trial, group_size=54))
    search = mechanism_in_words(RandomStopping(trial, eta=1.0, gamma=0.1))
    assert "the best alone was kept" in search
    assert "486 steps" in search


class Text(HTMLParser):
    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.shown = ""
        self.feed(source)

    def handle_starttag(self, tag: str, attributes: Any) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.shown += data


def test_the_page_shows_names_as_they_are_and_code_as_code() -> None:
    page = Text(card_page(Card("<script>x</script>", (Section("A", ("run `a<b` <i>now</i>",), ("one `p", "two")),))))
    assert not {"script", "i"} & set(page.tags)
    assert page.tags.count("code") == 1
    assert page.tags.count("li") == 2
    for told in ("<script>x</script>", "a<b", "one `p"):
        assert told in page.shown


def test_no_epsilon_of_a_card_stands_alone(released: Protection, dp_sgd: Protection) -> None:
    for protection in (released, dp_sgd):
        claim: Claim = protection.claim
        for text in [claim.sentence, *not_protected(protection)]:
            alone = re.sub(r"epsilon = [\d.]+, delta = \S+ \([\w ]+; [\w. -]+; [^)]+\)", "", text)
            assert "epsilon" not in alone
