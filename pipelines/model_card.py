"""The card of a model: what is promised of it, what is not, where to check that, and what it is for.

It is logged with every private version as Markdown and as a page, and `flockcast models card` writes it anew from what
the registry says today, audits included.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from pipelines.artefact import CONFIG, Config
from pipelines.errors import RegistryError
from pipelines.privacy.card import audit_in_words, generator_in_words, mechanism_in_words, not_protected
from pipelines.privacy.claim import Protection
from pipelines.registry import CHAMPION, Version, client, fetch_forecaster, versions
from pipelines.results import Registered

if TYPE_CHECKING:
    from mlflow import MlflowClient

MARKDOWN, PAGE = "model_card.md", "model_card.html"
NO_PROMISE = "No privacy promise is made of this model."
FOR = {
    "released_input": "Forecasts from released counts, to publish, cache and pass on. Feed it released counts.",
    "raw_input_internal": "Forecasts for the house alone, where today's raw counts may be seen. For forecasts to "
    "publish, train on a release of the counts.",
}


@dataclass(frozen=True)
class Section:
    title: str
    paragraphs: tuple[str, ...] = ()
    points: tuple[str, ...] = ()


@dataclass(frozen=True)
class Card:
    """Text with `code` between backticks, as Markdown has it."""

    title: str
    sections: tuple[Section, ...]

    def as_markdown(self) -> str:
        parts = [f"# {self.title}"]
        for section in self.sections:
            parts += [f"## {section.title}", *section.paragraphs, "\n".join(f"- {point}" for point in section.points)]
        return "\n\n".join(part for part in parts if part) + "\n"


def card_of(
    protection: Protection, config: Config, *, version: str | None = None, tags: Mapping[str, str] | None = None
) -> Card:
    """`version` and `tags` of the registry say what was not known yet when the model was registered."""
    claim = protection.claim
    return Card(
        f"Model card: {config.name}" + (f", version {version}" if version else ""),
        (
            Section("What is protected", (f"{claim.sentence}.", mechanism_in_words(claim.mechanism))),
            Section("What is not protected", points=tuple(not_protected(protection))),
            Section("What it is for", (FOR[protection.serving],)),
            Section("Where the noise came from", (generator_in_words(claim.mechanism),)),
            Section("In the ledger", _ledger(protection, config.name)),
            Section("Audit", (audit_in_words(tags or {}),)),
            Section("Model and data", points=_facts(config)),
        ),
    )


def _ledger(protection: Protection, name: str) -> tuple[str, ...]:
    return (
        f"Entry {protection.ledger_seq} of run `{protection.run_id}`, hash `{protection.ledger_hash}`.",
        "`flockcast budget verify` works the chain of hashes and the sums out anew; "
        f"`flockcast budget explain {name}` says what this model cost, and why.",
    )


def _facts(config: Config) -> tuple[str, ...]:
    return (
        f"Model: {config.label}, forecasts {', '.join(config.variables[:6])}"
        + (f" and {len(config.variables) - 6} more" if len(config.variables) > 6 else "")
        + f" of {len(config.nodes)} nodes, in steps of {config.interval} ({config.timezone})",
        f"Data set: {config.name}, version `{config.dataset_version}`, seen until {config.trained_until}",
    )


def card_page(card: Card) -> str:
    """One HTML page that asks nothing of the network."""
    environment = Environment(
        loader=PackageLoader("pipelines", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters["code"] = _with_code
    style = (Path(__file__).parent / "report" / "style.css").read_text(encoding="utf-8")
    return environment.get_template("report/card.html").render(card=card, style=Markup(style))


def _with_code(text: str) -> Markup:
    """What stands between backticks as code."""
    parts = text.split("`")
    if len(parts) % 2 == 0:
        return escape(text)
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if i % 2 else escape(part) for i, part in enumerate(parts)
    )


def registered_card(asked: str, *, uri: str | None = None) -> str:
    """The card of `name@version` of the registry, or of the champion of `name`, else of its newest version.

    Raises RegistryError where there is no such version.
    """
    return card_of_version(asked, uri=uri).as_markdown()


def card_of_version(asked: str, *, uri: str | None = None) -> Card:
    """What `registered_card` gives, before it is written out; of a version that promises nothing, one line."""
    name, _, wanted = asked.partition("@")
    row = _chosen(versions(name, uri=uri), name, wanted)
    if row.claim is None:
        return Card(f"Model card: {row.name}, version {row.version}", (Section("What is protected", (NO_PROMISE,)),))
    config, tags = _read(client(uri), row.name, row.version)
    if config.promised is None:
        raise RegistryError(f"{row.name} version {row.version} has tags of a promise that its files know nothing of")
    return card_of(config.promised, config, version=row.version, tags=tags)


def promise_of(registered: Registered) -> Protection | None:
    """What a registered version promises, from its own files."""
    return _read(client(registered.tracking_uri), registered.name, registered.version)[0].promised


def _chosen(rows: list[Version], name: str, wanted: str) -> Version:
    if not rows:
        raise RegistryError(f"no model is called {name}; `flockcast models` lists them all")
    if wanted:
        found = [row for row in rows if row.version == wanted or wanted in row.aliases]
        if not found:
            raise RegistryError(f"{name} has no version {wanted}; `flockcast models --name {name}` lists them")
        return found[0]
    return next((row for row in rows if CHAMPION in row.aliases), rows[0])


def _read(store: "MlflowClient", name: str, number: str) -> tuple[Config, dict[str, str]]:
    version = store.get_model_version(name, number)
    file = fetch_forecaster(store, version) / CONFIG
    return Config(**json.loads(file.read_text(encoding="utf-8"))), dict(version.tags)
