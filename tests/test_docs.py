"""What the documents say is what the program does."""

import re
import runpy
from pathlib import Path

import pytest
import typer

from flows.cli import app
from pipelines import settings
from pipelines.spec import BUNDLED, bundled_names

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def commands() -> set[str]:
    group = typer.main.get_command(app)
    return set(group.commands)  # type: ignore[attr-defined]


def test_the_page_of_the_spec_is_what_the_schema_says() -> None:
    written = runpy.run_path(str(ROOT / "docs" / "write_spec_page.py"))
    assert (ROOT / "docs" / "spec.md").read_text() == written["page"](), "run: python docs/write_spec_page.py"


def test_every_command_is_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text()
    missing = {name for name in commands() if not re.search(rf"`(?:flockcast )?{name}", readme)}
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_in_a_document_exists(page: Path) -> None:
    named = set(re.findall(r"flockcast ([a-z]+)\b", "\n".join(code_of(page))))
    assert named <= commands()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_that_a_document_names_exists(page: Path) -> None:
    for name in re.findall(
        r"\b((?:data|models|pipelines|flows|tests|docs|benchmarks)/[\w/.-]+\.(?:py|md))\b", page.read_text()
    ):
        assert (ROOT / name).exists(), name


def test_the_make_targets_that_documents_name_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    named = {word for page in PAGES for code in code_of(page) for word in re.findall(r"\bmake ([a-z-]+)", code)}
    assert named <= targets


def test_ci_runs_the_readme_s_test_command() -> None:
    assert "make test" in (ROOT / ".ci" / "run").read_text()


def test_every_variable_of_ours_is_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text()
    for name in re.findall(r"^([A-Z_]{8,}) ", settings.__doc__ or "", flags=re.MULTILINE):
        assert f"`{name}`" in readme


def test_the_readme_s_own_data_needs_no_edit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`flockcast init --data counts.csv` and nothing else, as the README claims of long format."""
    from pipelines.ingest import ingest
    from pipelines.prepare import prepare
    from pipelines.spec import load_spec
    from pipelines.template import spec_template

    monkeypatch.setenv("FLOCKCAST_HOME", str(tmp_path / "home"))
    rows = [f"{node},2024-01-{1 + h // 24:02d} {h % 24:02d}:00,{h % 24}" for node in "ab" for h in range(300)]
    (tmp_path / "counts.csv").write_text("\n".join(["unique_id,ds,y", *rows]))
    (tmp_path / "flockcast.toml").write_text(spec_template("long", name="mine", files="counts.csv"))
    spec = load_spec(tmp_path / "flockcast.toml")
    assert prepare(spec, ingest(spec, say=lambda line: None)).shape.nodes == 2


def test_every_bundled_spec_is_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text()
    assert not [name for name in bundled_names() if f"`{name}`" not in readme]


def test_each_bundled_data_set_has_a_spec_and_says_its_terms() -> None:
    folders = {folder.name for folder in (ROOT / "data" / "bundled").iterdir() if folder.is_dir()}
    specs = [(BUNDLED / f"{name}.toml").read_text() for name in bundled_names()]
    assert folders == {folder for spec in specs for folder in re.findall(r"bundled:(\w+)/", spec)}
    for folder in folders:
        assert "licence" in (ROOT / "data" / "bundled" / folder / "README.md").read_text().lower()


def code_of(page: Path) -> list[str]:
    """The code blocks of a page, and the code within its lines."""
    text = page.read_text()
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    return blocks + re.findall(r"`([^`\n]+)`", re.sub(r"^```\w*\n.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))
