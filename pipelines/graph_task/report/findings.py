"""The numbers under the headline, and what the figures found, in sentences."""

import pandas as pd

from data.snapshot_store import SnapshotManifest
from pipelines.graph_task.evaluate import GraphBacktest
from pipelines.graph_task.report.comparison import METRICS, Duel, GraphComparison
from pipelines.report.findings import Tile
from pipelines.report.words import lead, model_title, moment, number, percent, plural

EVEN = 0.05  # a split that coins give more often than this says nothing


def tiles(found: GraphComparison, between: Duel | None, manifest: SnapshotManifest) -> list[Tile]:
    used = manifest.rows_used / max(manifest.rows_read, 1)
    return [
        Tile(METRICS[found.metric], number(found.value), "on the test range; 1 is the best that can be"),
        _rival_tile(found),
        _duel_tile(found, between),
        Tile("Data used", percent(used), f"{manifest.rows_used:,} of {manifest.rows_read:,} rows of the source"),
    ]


def _rival_tile(found: GraphComparison) -> Tile:
    title = f"{METRICS[found.metric]} against yardsticks"
    if found.rival is None:
        return Tile(title, "–", "none was run")
    note = f"{model_title(found.rival)}, the best yardstick ({number(found.rival_value)})"
    match found.standing:
        case "ties":
            return Tile(title, "equal", f"to {note}")
        case "wins":
            return Tile(title, f"+{percent(found.gain)}", f"above {note}", "good")
        case _:
            return Tile(title, f"−{percent(-found.gain)}", f"below {note}", "bad")


def _duel_tile(found: GraphComparison, between: Duel | None) -> Tile:
    if between is None or found.rival is None:
        return Tile("Steps ahead", "–", "no yardstick has a figure by step")
    steady = between.chance < EVEN
    mood = "plain" if not steady else "good" if between.ahead > between.behind else "bad"
    return Tile(
        "Steps ahead", f"{between.ahead} of {between.steps}", f"test steps, of {model_title(found.rival)}", mood
    )


def of_steps(found: GraphComparison, between: Duel | None) -> str:
    """Whether ours is ahead steadily or by chance."""
    if between is None or found.rival is None:
        return f"{METRICS[found.metric]} at each step of the test range."
    ours, rival = model_title(found.ours), model_title(found.rival)
    even = f", level with it in {between.even}" if between.even else ""
    split = f"{ours} is ahead of {rival} in {between.ahead} of {plural(between.steps, 'test step')}{even}."
    if between.ahead + between.behind == 0:
        return split
    odds = f"with a probability of {number(between.chance)}, if the steps were independent"
    if between.chance >= EVEN:
        return f"{split} That may be chance: coins would fall as unevenly {odds}."
    word = "ahead" if between.ahead > between.behind else "behind"
    return f"{split} So it is steadily {word}: coins would fall as unevenly only {odds}."


def of_forecast(known_until: str) -> str:
    return f"The data end with {step_words(known_until)}; this is what comes after it."


def of_told(known_until: str) -> str:
    return f"The classes of the newest step, {step_words(known_until)}."


def step_words(name: str) -> str:
    """A step as a person says it, of a clock with times or of ranks."""
    return f"step {name}" if name.lstrip("-").isdigit() else moment(name)


def span_words(manifest: SnapshotManifest) -> str:
    return " to ".join(map(step_words, manifest.span))


def clock_words(manifest: SnapshotManifest) -> str:
    """How many steps there are, and how long they are."""
    zone = f", {manifest.timezone}" if manifest.timezone else ""
    length = ", one for each distinct time" if manifest.interval == "rank" else f" of {long_step(manifest.interval)}"
    return f"{plural(manifest.steps, 'step')}{length}{zone}"


def long_step(interval: str) -> str:
    """Seconds as days or hours where there are many: 190080s are 2.2 days."""
    if not interval.endswith("s"):
        return lead(1, interval)
    days = pd.Timedelta(interval) / pd.Timedelta(days=1)
    return f"{days:.4g} days" if days > 1 else plural(int(interval[:-1]), "second")


def best_possible(result: GraphBacktest) -> str:
    """The sentence on how to read the table."""
    if "map" in result.metrics:
        return (
            "How to read: more is better in every column, the best of each is bold. MAP is the mean over the test "
            "steps of the average precision of the links among all pairs of nodes; MRR the mean over the "
            "links of a source, then over sources and steps, of one over their rank among all targets, with ties "
            "split, lost or won; filtered leaves the other links of the step out of the ranking."
        )
    return (
        "How to read: more is better in every column, the best of each is bold. F1 is the harmonic mean of how many "
        "of the rare class were found and how many of those named so were right; accuracy is the share of all that "
        "were told rightly, which naming the commonest class every time already brings far where a class is rare."
    )
