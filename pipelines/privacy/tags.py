"""What the registry's tags say of a private version, and how it is told in a line."""

from collections.abc import Mapping

from pipelines.privacy.claim import Protection, rounded_up

NONE_PROMISED = "-"
SCORED_ON = "privacy.scored_on"
RAW_COUNTS, RELEASED_COUNTS = "raw counts, which the claim does not cover", "released counts"
SERVING = "privacy.serving"
INTERNAL_TAGS = {SERVING: "raw_input_internal", SCORED_ON: RAW_COUNTS}  # of no promise, on protected data


def tags_of(protection: Protection | None) -> dict[str, str]:
    """Of an MLflow run and version; none where nothing is promised."""
    if protection is None:
        return {}
    on_release = protection.serving == "released_input"
    return {**protection.tags, SCORED_ON: RELEASED_COUNTS if on_release else RAW_COUNTS}


def in_brief(tags: Mapping[str, str]) -> str:
    """Unit, epsilon, delta and accountant in a phrase for a column; `-` where nothing is promised."""
    if "privacy.claim" not in tags:
        return NONE_PROMISED
    unit = tags["privacy.unit"]
    whom = {"window": "window (weak)", "user": f"user over {tags.get('privacy.span', 'an unnamed span')}"}.get(
        unit, unit
    )
    epsilon, delta = float(tags["privacy.epsilon"]), float(tags["privacy.delta"])
    return f"{whom}: epsilon {rounded_up(epsilon)}, delta {delta:.3g} ({tags['privacy.accountant']})"
