"""How the report says names, numbers and lead times."""

import math
import re
from collections import Counter
from datetime import datetime

import polars as pl

MODELS = {
    "lstm": "LSTM",
    "gru": "GRU",
    "bilstm": "BiLSTM",
    "bigru": "BiGRU",
    "dlinear": "DLinear",
    "stid": "STID",
    "regenn": "ReGENN",
    "evolvegcn-flows": "EvolveGCN for flows",
    "evolvegcn-flows-O": "EvolveGCN-O for flows",
    "gcn": "Static GCN",
    "ridge": "Ridge regression",
    "naive": "Naive (last value)",
    "linear": "Linear continuation",
    "seasonal_naive_day": "Seasonal naive (day)",
    "seasonal_naive_week": "Seasonal naive (week)",
    "historical_mean": "Historical mean (hour of the week)",
    "evolvegcn-h": "EvolveGCN-H",
    "evolvegcn-o": "EvolveGCN-O",
    "gcn_gru": "GCN-GRU",
    "random": "Chance",
    "activity": "Activity",
    "repeat": "Repeat",
    "repeat_and_activity": "Repeat and activity",
    "majority": "Commonest class",
}
ADDED = {"memory": "with memory of pairs", "rule": "on top of the rule"}  # after a + in the name of a graph's model
NBSP = "\u00a0"
UNITS = {"m": "minute", "h": "hour", "d": "day", "w": "week", "mo": "month", "q": "quarter", "y": "year"}


def model_title(name: str) -> str:
    base, _, added = name.partition("+")
    if base in MODELS and added in ADDED:
        return f"{MODELS[base]} {ADDED[added]}"
    return MODELS.get(name, name)


def number(value: float) -> str:
    """Three significant digits, or all digits before the point: 0.0123, 1.92, 63.1, 1,504."""
    if not math.isfinite(value):
        return "–"
    if value == 0:
        return "0"
    decimals = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{decimals}f}"


def percent(share: float) -> str:
    """One decimal, and never 100 or 0 for what is not quite all or nothing; the sign stays on the number's line."""
    if not math.isfinite(share):
        return "–"
    text = f"{100 * share:.1f}"
    if text == "100.0" and share < 1:
        return f"over 99.9{NBSP}%"
    if text == "0.0" and share > 0:
        return f"under 0.1{NBSP}%"
    return f"{text.removesuffix('.0')}{NBSP}%"


def aligned(values: list[float], *, shares: bool = False) -> list[str]:
    """The same number of decimals for a whole column: three significant digits in the middle of it."""
    if shares:
        return [f"{100 * value:.1f}{NBSP}%" if math.isfinite(value) else "–" for value in values]
    sizes = sorted(abs(value) for value in values if math.isfinite(value) and value != 0) or [1.0]
    decimals = max(0, 2 - math.floor(math.log10(sizes[len(sizes) // 2])))
    return [f"{value:,.{decimals}f}" if math.isfinite(value) else "–" for value in values]


def signed(values: list[float]) -> list[str]:
    """A column as `aligned` writes it, each number with its sign."""
    signs = ["+" if value > 0 else "−" if value < 0 else "" for value in values]
    return [sign + size for sign, size in zip(signs, aligned([abs(value) for value in values]), strict=True)]


def plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def lead(steps: int, interval: str) -> str:
    """`steps` of `interval` as a person says it: 24 steps of 1h are "24 hours", 3 of 30m are "1.5 hours"."""
    match = re.fullmatch(r"(\d+)([a-z]+)", interval)
    if match is None or match[2] not in UNITS:
        return plural(steps, "step")
    amount, unit = steps * int(match[1]), UNITS[match[2]]
    if unit == "minute" and amount >= 60:
        hours = amount / 60
        return "1 hour" if hours == 1 else f"{hours:.4g} hours"
    return plural(amount, unit)


def steps_ahead(interval: str) -> str:
    """The title of an axis that counts steps."""
    one = lead(1, interval)
    return f"{one.removeprefix('1 ')}s ahead" if one.startswith("1 ") else f"steps ahead (one step is {one})"


def moment(iso: str) -> str:
    """An ISO 8601 time as a person writes it, without the offset that the named zone implies."""
    return datetime.fromisoformat(iso).strftime("%-d %B %Y, %H:%M")


def lead_times(horizon: int) -> list[int]:
    """The first, the middle and the last lead time, each once."""
    return sorted({1, (horizon + 1) // 2, horizon})


def shorten(name: str, length: int = 26) -> str:
    return name if len(name) <= length else name[: length - 1].rstrip() + "…"


def chart_text(name: str, length: int = 26) -> str:
    """A name as text in a chart: Plotly reads tags and entities in every text that it draws."""
    return shorten(name, length).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def node_labels(static: pl.DataFrame) -> dict[str, str]:
    """Node id -> its label where the zones have one, with the id where two nodes share a label."""
    ids = [str(node) for node in static["node"]]
    if "label" not in static.columns:
        return dict(zip(ids, ids, strict=True))
    labels = [str(label) if label else node for node, label in zip(ids, static["label"], strict=True)]
    uses = Counter(labels)
    return {
        node: label if uses[label] == 1 or label == node else f"{label} ({node})"
        for node, label in zip(ids, labels, strict=True)
    }


def without_password(uri: str) -> str:
    """A tracking URI that may be shown to anyone who gets the page."""
    return re.sub(r"//[^/@]*@", "//", uri)
