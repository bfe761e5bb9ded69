"""The data sets that come with flockcast: their origin and licence are in the README beside each."""

from pathlib import Path

HERE = Path(__file__).parent / "bundled"
PREFIX = "bundled:"


def resolve(path: str, relative_to: Path) -> str:
    """`bundled:nyc_green_trips/zones.csv` to a real path; any other path relative to the folder of its spec."""
    if path.startswith(PREFIX):
        return str(HERE / path.removeprefix(PREFIX))
    return str(relative_to / Path(path).expanduser())
