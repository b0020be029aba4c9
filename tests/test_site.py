"""The site: built with every warning an error, so that no link and no anchor leads nowhere; it needs no network."""

from __future__ import annotations

import json
import re
from html import unescape
from importlib import import_module
from pathlib import Path
from types import FunctionType

import pytest
from mkdocs.commands.build import build
from mkdocs.config import load_config

from semisup import __version__, plugins
from semisup.plugins import source

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        build(load_config(str(ROOT / "mkdocs.yml"), site_dir=str(folder), strict=True))
    return folder


def text(page: Path) -> str:
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", "", page.read_text(encoding="utf-8"))))


@pytest.mark.slow
def test_every_method_has_a_page_of_its_options_and_figures(site: Path) -> None:
    for name, point in plugins.installed(plugins.STRATEGIES).items():
        page = text(site / "methods" / f"{name}.html")
        for option in source.describe(point.value).options:
            assert f"--{name}.{option.name}" in page
        assert "Args:" not in page
    fixmatch = text(site / "methods" / "fixmatch.html")
    row = next(line for line in (ROOT / "experiments/RESULTS.md").read_text().splitlines() if "| fixmatch |" in line)
    assert all(cell.strip() in fixmatch for cell in row.strip("|").split(" | "))
    for page, group in {"datasets": plugins.DATAMODULES, "backbones": plugins.BACKBONES}.items():
        written = (site / f"{page}.html").read_text(encoding="utf-8")
        assert all(f">{name}<" in written for name in plugins.installed(group))


@pytest.mark.slow
def test_on_a_narrow_screen_no_figure_is_parted_and_options_stand_above_their_meanings(site: Path) -> None:
    choose, fixmatch = ((site / f"{page}.html").read_text(encoding="utf-8") for page in ("choose", "methods/fixmatch"))
    assert "92.11\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}4.27" in choose
    assert "+13.17 [+4.72,\N{NO-BREAK SPACE}+21.61]" in choose
    assert re.search(r'<div class="options">\s*<table>', fixmatch) and "| option |" not in fixmatch
    assert '<div class="language-bash highlight">' in fixmatch  # whose lines are broken (docs/site.css)


def test_readme_says_as_many_lines_as_were_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    tables = import_module("results").read(ROOT / "experiments" / "RESULTS.md")
    (rows,) = (table.rows for table in tables if table.head == ("method", "semisup", "USB"))
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for column in (1, 2):
        lines = [int(row[column]) for row in rows if row[column] != "-"]
        assert f"{min(lines)} to {max(lines)} lines" in readme


def test_links_of_what_lies_beside_the_site_lead_somewhere_and_versions_agree() -> None:
    names = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")
    told = {name: (ROOT / name).read_text(encoding="utf-8") for name in names}
    links = [link for text in told.values() for link in re.findall(r"\]\(([^)#]+)", text) if "://" not in link]
    assert len(links) > 12 and [link for link in links if not (ROOT / link).exists()] == []
    assert f"version: {__version__}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert re.search(rf"^## {re.escape(__version__)}\b", told["CHANGELOG.md"], flags=re.MULTILINE)


@pytest.mark.slow
def test_it_fetches_nothing_from_elsewhere(site: Path) -> None:
    for page in site.rglob("*.html"):
        for tag in re.findall(r"<(?:script|link|img|iframe)\b[^>]*>", page.read_text(encoding="utf-8")):
            assert not re.search(r"(?:src|href)=[\"']?(?:https?:)?//", tag) or "canonical" in tag, (page.name, tag)
    for style in site.rglob("*.css"):
        assert not re.search(r"url\([\"']?(?:https?:)?//", style.read_text(encoding="utf-8"))


@pytest.mark.slow
def test_what_is_looked_for_is_found(site: Path) -> None:
    """By the index that the page's search reads."""
    entries = json.loads((site / "search" / "search_index.json").read_text(encoding="utf-8"))["docs"]

    def places(words: str) -> set[str]:
        found = (entry for entry in entries if words in f"{entry['title']} {entry['text']}".lower())
        return {entry["location"].partition("#")[0] for entry in found}

    assert "methods/freematch.html" in places("freematch")
    assert {"own-pictures.html", "runs.html"} <= places("csv")
    assert "troubleshooting.html" in places("out of memory")
    assert "troubleshooting.html" in places("must be at least")


@pytest.mark.slow
def test_the_picture_of_the_rooms_has_them_all(site: Path) -> None:
    from test_rooms import FLOOR

    picture = (site / "architecture.html").read_text(encoding="utf-8")
    svg = picture[picture.index('<svg class="rooms"') :].partition("</svg>")[0]
    drawn = re.findall(r"[\w.]+/?", " ".join(re.findall(r'font-size="14">([^<]+)<', svg)))
    assert sorted(name.removesuffix("/").removesuffix(".py") for name in drawn) == sorted(FLOOR)


@pytest.mark.slow
def test_what_is_public_is_described(site: Path) -> None:
    """Every name of `__all__` of every module of the page, and nothing else of it."""
    modules = re.findall(r"^::: (\S+)", (ROOT / "docs" / "api.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    shown = set(re.findall(r'id="(semisup[\w.]*)"', (site / "api.html").read_text(encoding="utf-8")))
    for module in modules:
        named = import_module(module)
        public = {name: getattr(named, name) for name in named.__all__}
        described = {
            name for name, of in public.items() if isinstance(of, type | FunctionType) and of.__module__ == module
        }
        assert described and described <= {name.removeprefix(f"{module}.") for name in shown}, module
        parts = {name.removeprefix(f"{module}.").partition(".")[0] for name in shown if name.startswith(f"{module}.")}
        assert parts <= set(named.__all__), module
