"""The rooms and who may import whom: read from the imports, held here."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("data", "models", "pipelines", "flows")
MAY_IMPORT = {
    "data": {"data"},
    "models": {"models"},
    "pipelines": {"data", "models", "pipelines"},
    "flows": {"pipelines", "flows", "data"},  # of data, its records and errors
}
FRAMEWORKS = {
    "torch",
    "torch_geometric",
    "polars",
    "pandas",
    "numpy",
    "mlflow",
    "prefect",
    "opacus",
    "opendp",
    "scipy",
    "fastapi",
    "typer",
}
MAY_USE = {
    "data": {"polars", "pandas", "numpy", "torch", "opendp"},
    "models": {"torch", "torch_geometric"},
    "pipelines": FRAMEWORKS - {"prefect", "typer"},
    "flows": {"prefect", "typer"},
}


def imports_of(file: Path) -> set[tuple[str, str]]:
    """(top name, whole name) of every import, those inside functions too."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {(alias.name.split(".")[0], alias.name) for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative imports hide the room"
            found.add((node.module.split(".")[0], node.module))
    return found


def files() -> list[Path]:
    return [file for room in ROOMS for file in sorted((ROOT / room).rglob("*.py"))]


@pytest.mark.parametrize("file", files(), ids=lambda file: str(file.relative_to(ROOT)))
def test_imports_point_down_and_stay_in_their_layer(file: Path) -> None:
    room = file.relative_to(ROOT).parts[0]
    for top, whole in imports_of(file):
        if top in ROOMS:
            assert top in MAY_IMPORT[room], f"{room} must not import {whole}"
        if top in FRAMEWORKS:
            assert top in MAY_USE[room], f"{room} must not use {whole}"


def test_flows_take_of_data_only_its_records_and_errors() -> None:
    for file in (ROOT / "flows").rglob("*.py"):
        wholes = {whole for top, whole in imports_of(file) if top == "data"}
        assert wholes <= {"data.errors", "data.dataset"}, f"{file} goes around pipelines: {wholes}"


def test_tests_have_no_packages_that_would_hide_a_room() -> None:
    assert not list((ROOT / "tests").rglob("__init__.py"))


def test_no_flow_module_is_called_like_a_room() -> None:
    assert not {file.stem for file in (ROOT / "flows").rglob("*.py")} & set(ROOMS)
