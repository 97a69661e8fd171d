"""The pages for people name only what there is: files, modules, fields of the configuration."""

import importlib.util
import pathlib
import re

import pytest
from ml_collections import ConfigDict

from benchmarks.study_report import LOG
from configs import base

ROOT = pathlib.Path(__file__).parent.parent
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "benchmarks/README.md", "launch/README.md")]
PAGES += sorted([*(ROOT / "docs").glob("*.md"), *(ROOT / "docs/results").glob("*.md")])
TOP = ("spin_jax", "configs", "docs", "benchmarks", "tests", "launch")
PLACEHOLDER = re.compile(r"[A-Z<…]")  # configs/TASK.py, card_<split>.json

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def found(pattern: str, page: pathlib.Path) -> list[str]:
    """What the pattern's only group matches on a page, each once."""
    return sorted(set(re.findall(pattern, page.read_text())))


def headings(page: pathlib.Path) -> set[str]:
    """The anchors that GitHub and MyST give to the headings of a page, code blocks left out."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    titles = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def has_field(config: ConfigDict, name: str) -> bool:
    section, _, field = name.rpartition(".")
    return field in (config[section] if section else config)


@every_page
def test_every_link_and_picture_leads_to_a_file_and_a_heading_of_it(page):

    def leads_somewhere(link):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        return target.exists() and (not anchor or anchor in headings(target))

    links = found(r"\]\(((?!\w+:)[^)\s]+)\)", page)
    assert [link for link in links if not leads_somewhere(link)] == []


def test_readme_is_read_in_one_go():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


@every_page
def test_every_configuration_file_exists(page):
    names = [name for name in found(r"--config=(\S+?\.py)", page) if not PLACEHOLDER.search(name)]
    assert [name for name in names if not (ROOT / name).exists()] == []


@every_page
def test_every_module_that_is_run_exists(page):
    assert [name for name in found(r"python -m ([\w.]*\w)", page) if not importlib.util.find_spec(name)] == []


@every_page
def test_every_field_of_the_configuration_exists(page):
    config = base.get_config("cheetah_run", "paper")
    sections = [name for name in config if isinstance(config[name], ConfigDict)]
    assert {"asm", "data", "train"} <= set(sections)
    in_prose = rf"`((?:{'|'.join(sections)})\.[a-z_]+)(?:=[^`]*)?`"
    names = {*found(r"--config\.([a-z_]+(?:\.[a-z_]+)?)", page), *found(in_prose, page)} - {"section.field"}
    assert [name for name in sorted(names) if not has_field(config, name)] == []


@every_page
def test_every_path_exists(page):
    names = [name.rstrip("./") for name in found(rf"(?<![\w/.])((?:{'|'.join(TOP)})/[\w./*<>…-]*)", page)]
    assert [name for name in names if not PLACEHOLDER.search(name) and not any(ROOT.glob(name))] == []


@every_page
def test_no_table_stands_twice(page):
    """Rows of figures of one page are on no other page, but for the mean of a log that two studies share."""

    def rows(path):
        lines = (line.strip() for line in path.read_text().splitlines() if line.startswith("|"))
        return {line for line in lines if re.search(r"\d.*\d", line) and not line.startswith(f"| {LOG} |")}

    assert [row for other in PAGES if other != page for row in rows(page) & rows(other)] == []


NASTY = [
    "Stars *here and `there, **bold, |bars|, under_ scores_, a: b:: and \\ and <angle>.",
    "First.\n    Indented at once\n  and back.\n\n- a list\n   continued\nand left again",
    "Unbalanced `ticks` and ``double` and ```triple.",
    "x -> y\n\n    code = 1\n\n.. directive:: that is none\n\n=====\ntitle\n===",
    "init(key, (a, b)) -> (c [B, N], d): what\n    it `is`\nname, other: ``both``\n1. one\n2. two",
    "",
]


@pytest.mark.parametrize("text", NASTY, ids=range(len(NASTY)))
def test_no_docstring_can_break_the_site(text, monkeypatch):
    """docutils is the oracle: what docs/docstrings.py makes of a docstring parses without a message."""
    core = pytest.importorskip("docutils.core", reason="pip install -e '.[docs]'")
    monkeypatch.syspath_prepend(ROOT / "docs")
    docstrings = importlib.import_module("docstrings")
    lines = text.splitlines()
    docstrings.process(None, "function", "f", None, None, lines)
    settings = {"report_level": 1, "halt_level": 1}  # even a hint is an error
    document = core.publish_doctree("\n".join(lines), settings_overrides=settings)
    assert text.split()[0].strip("*`") in document.astext() if text else not document.astext()
