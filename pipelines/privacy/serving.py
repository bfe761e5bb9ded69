"""What a forecast of a private model tells of today's people, and where it may go.

A forecast follows from the weights and from the newest window. What is promised of a training covers the weights alone,
so a forecast is only as private as the window that it reads:

released_input       the window is a release of counts: the forecast follows from that release and may be published
raw_input_internal   the window is raw: the forecast is marked, does not leave the house, and each one is logged

Observations that a caller sends count as raw, whatever they are: nobody can tell a release by looking at it.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from data.dataset import Manifest, Release
from pipelines.errors import ServingRefused
from pipelines.privacy.claim import Protection
from pipelines.privacy.unprotected import NOTHING_PROMISED
from pipelines.settings import home

RELEASED = "input: released"
RAW = "contains today's raw counts"
SENT = "contains raw input, not exportable"


@dataclass(frozen=True)
class Mark:
    """What a forecast of a private model carries with it wherever it goes; those of other models have none."""

    input: Literal["released", "raw"]
    text: str
    claim: str  # what is promised of what the model learnt from, and of the release that it reads, if another

    @property
    def is_exportable(self) -> bool:
        return self.input == "released"

    @property
    def metadata(self) -> dict[str, str]:
        """For the key-value metadata of a Parquet file."""
        return {
            "flockcast.privacy.input": self.input,
            "flockcast.privacy.mark": self.text,
            "flockcast.privacy.exportable": "yes" if self.is_exportable else "no",
            "flockcast.privacy.claim": self.claim,
        }


def mark_of(
    protection: Protection | None,
    *,
    stored: Manifest | None,
    sent: bool,
    raw_input: bool,
    name: str,
    is_internal: bool = False,
) -> Mark | None:
    """The mark of a forecast that reads the newest of the data set `stored`, or what a caller has `sent`, or both.

    `raw_input` says that the caller knows their observations to be raw; `is_internal`, that the model promises nothing
    although a budget protects its data. Raises ServingRefused for what would leave a
    model that serves released input without being one.
    """
    if protection is None:
        return Mark("raw", RAW, NOTHING_PROMISED) if is_internal else None
    claim = protection.claim.sentence
    if protection.serving == "raw_input_internal":
        return Mark("raw", RAW, claim)
    if sent and not raw_input:
        raise ServingRefused(
            f"{name} forecasts from released counts, and observations that are sent count as raw; leave them out, or "
            f"say raw_input = true to have a forecast that is logged and marked {SENT!r}"
        )
    if sent:
        return Mark("raw", SENT, claim)
    if stored is None or stored.release is None:
        held = "there is none in the store" if stored is None else f"version {stored.version} is no release"
        raise ServingRefused(
            f"{name} forecasts from released counts, but {held}; ingest the newest data with "
            "mechanism = 'release' in [privacy]"
        )
    return Mark("released", RELEASED, _of_both(claim, stored.release))


def _of_both(trained: str, window: Release) -> str:
    """A newer release may promise less than the one that the model learnt from; the forecast follows from both."""
    read = Protection.from_json(window.protection).claim.sentence
    return trained if read == trained else f"{trained}. The newest counts are of another release: {read}"


def check_export(mark: Mark | None, path: Path, *, internal: bool) -> None:
    """Raises ServingRefused where a forecast from raw counts would be written to a file outside FLOCKCAST_HOME."""
    if mark is None or mark.is_exportable or internal:
        return
    if not path.expanduser().resolve().is_relative_to(home().resolve()):
        raise ServingRefused(
            f"this forecast {mark.text}, so it is not written to {path}, outside FLOCKCAST_HOME; write it below "
            f"{home()}, or say --internal if the file stays in the house"
        )
