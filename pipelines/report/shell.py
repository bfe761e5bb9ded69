"""What every report is made of: one template with its style and script, the charts as JSON, the account of the rows."""

import json
import os
import tempfile
from collections.abc import Mapping
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from data.dataset import Manifest
from data.snapshot_store import SnapshotManifest
from pipelines.errors import StoreError
from pipelines.privacy.told import claim_of
from pipelines.report import words
from pipelines.report.figures import Figure
from pipelines.results import Registered

HERE = Path(__file__).parent
MOST_SOURCES = 20


def render(template: str, figures: Mapping[str, Figure], browsed: dict[str, Any] | None = None, **parts: Any) -> str:
    """The page of `template`, a path from pipelines that extends report/shell.html."""
    environment = Environment(
        loader=PackageLoader("pipelines", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(
        **parts,
        figures=figures,
        payload=payload(browsed, figures),
        plotly=Markup(get_plotlyjs()),
        style=Markup((HERE / "style.css").read_text(encoding="utf-8")),
        script=Markup((HERE / "page.js").read_text(encoding="utf-8")),
    )


def payload(browsed: dict[str, Any] | None, figures: Mapping[str, Figure]) -> Markup:
    """The data as JSON that can't end the script element it stands in, whatever a node is called."""
    drawn = {name: _drawn(figure) for name, figure in figures.items()}
    text = json.dumps({"browse": browsed, "figures": drawn}, allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))


def _drawn(figure: Figure) -> dict[str, Any]:
    return {"data": figure.traces, "layout": {"height": figure.height, **figure.layout}, "narrow": figure.narrow}


def account_of(manifest: Manifest | SnapshotManifest) -> dict[str, Any]:
    """Where the data came from and what became of every row, for the template."""
    sources = [(Path(file).name, digest) for file, digest in manifest.sources.items()]
    rejected = sorted(manifest.rejected.items(), key=lambda reason: -reason[1])
    return {
        "manifest": manifest,
        "is_told": claim_of(manifest) is None,  # how many rows there were
        "rejected": [
            (reason.replace("_", " "), n, words.percent(n / manifest.rows_read)) for reason, n in rejected if n
        ],
        "used_share": words.percent(manifest.rows_used / max(manifest.rows_read, 1)),
        "notes": [(note.replace("_", " "), n) for note, n in manifest.notes.items() if n],
        "sources": sources[:MOST_SOURCES],
        "more_sources": max(0, len(sources) - MOST_SOURCES),
    }


def footer(
    manifest: Manifest | SnapshotManifest, registered: Registered | None, *, seed: int, digest: str
) -> list[tuple[str, str]]:
    """What it takes to find and repeat the run."""
    written = datetime.now(ZoneInfo(manifest.timezone or "UTC")).strftime("%-d %B %Y, %H:%M %Z")
    run = [("run", registered.run_id), ("store", words.without_password(registered.tracking_uri))] if registered else []
    software = [("flockcast", version("flockcast")), ("torch", version("torch")), ("seed", str(seed))]
    return [("written", written), *software, ("spec digest", digest), ("data set", manifest.version), *run]


def write_page(text: str, path: Path) -> Path:
    """To a file beside it first, so that a full disk leaves the previous report as it was.

    Raises StoreError if the file can't be written.
    """
    partial = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, suffix=".part", encoding="utf-8", delete=False) as file:
            partial = Path(file.name)
            file.write(text)
        partial.chmod(0o644)
        os.replace(partial, path)
    except OSError as error:
        if partial is not None:
            partial.unlink(missing_ok=True)
        raise StoreError(f"the report can't be written to {path}: {error.strerror}; name another place") from None
    return path
