"""The pages that are written in each build: the API, room by room, and the reference of the configuration."""

import ast
import importlib
import os
import pathlib
import pkgutil
import re
import tokenize

import spin_jax

DOCS = pathlib.Path(__file__).parent
ROOT = DOCS.parent
PRESETS = ("paper", "quick", "smoke")
LINK = re.compile(r"\]\((?!\w+:|#)([^)#\s]+)(#[^)\s]*)?\)")


def on_the_site(text: str, folder: pathlib.Path, from_root: dict[str, str], at: pathlib.Path = DOCS) -> str:
    """Markdown of `folder` with links as pages in `at` have them; a root's file that is a page becomes that page."""
    pages = {file: f"{page}.md" for page, file in from_root.items()}

    def link(match):
        path = (folder / match.group(1)).resolve()
        if not path.is_relative_to(ROOT):
            return match.group()
        inside = path.relative_to(ROOT).as_posix()
        target = pages.get(inside) or (inside.removeprefix("docs/") if inside.startswith("docs/") else f"../{inside}")
        return f"]({os.path.relpath(DOCS / target, at)}{match.group(2) or ''})"

    return LINK.sub(link, text)


def rooms() -> dict[str, list[str]]:
    """The modules of every room, in the order of tests/test_layers.py where it has one; a file is a room of its own."""
    found: dict[str, list[str]] = {}
    for module in pkgutil.walk_packages(spin_jax.__path__, "spin_jax."):
        if not any(part.startswith("_") for part in module.name.split(".")):
            found.setdefault(module.name.split(".")[1], []).append(module.name)
    layers = ROOT / "tests" / "test_layers.py"
    order = re.findall(r"\w+", layers.read_text().partition("ROOMS")[2]) if layers.exists() else []
    return dict(sorted(found.items(), key=lambda room: place(room[0], order)))


def place(name: str, order: list[str]) -> int:
    """Where `name` stands in `order`; behind all others if it does not."""
    return order.index(name) if name in order else len(order)


def title(text: str, mark: str) -> str:
    return f"{text}\n{mark * len(text)}\n\n"


def room_page(room: str, modules: list[str]) -> str:
    """A room: what it says of itself, then each module under its own heading."""
    first, *others = sorted(modules, key=lambda name: (name.count("."), name))
    page = title(first.removeprefix("spin_jax."), "=") + f".. automodule:: {first}\n\n"
    for module in others:
        page += title(module.removeprefix(f"spin_jax.{room}."), "-") + f".. automodule:: {module}\n\n"
    return page


def first_line(module: str) -> str:
    """The first sentence of a module's docstring, without code marks."""
    text = (importlib.import_module(module).__doc__ or "").strip().split("\n\n")[0]
    return " ".join(text.split()).replace("`", "")


def index_page(found: dict[str, list[str]]) -> str:
    page = "# API\n\nEvery module, room by room. A module imports only from its own room and from rooms above it.\n\n"
    page += "| room | what it is |\n|---|---|\n"
    for room in found:
        page += f"| [{room}]({room}.rst) | {first_line(f'spin_jax.{room}').replace('|', '/')} |\n"
    return page + "\n```{toctree}\n:hidden:\n\n" + "\n".join(found) + "\n```\n"


def field_notes() -> dict[str, str]:
    """The comment behind each field of configs/base.py, by the name that an assignment gives it, section included."""
    path = ROOT / "configs" / "base.py"
    lines, notes = path.read_text().splitlines(), {}
    with tokenize.open(path) as file:
        comments = {
            token.start[0]: token.string.lstrip("# ")
            for token in tokenize.generate_tokens(file.readline)
            if token.type == tokenize.COMMENT
        }
    sections = {"config": ""}
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Assign):
            continue
        for target in node.targets:
            if isinstance(target, ast.Name) and len(node.targets) > 1:
                sections[target.id] = ast.unparse(node.targets[0]).removeprefix("config.") + "."
    for node in ast.walk(ast.parse(path.read_text())):
        target = node.targets[0] if isinstance(node, ast.Assign) else None
        if not isinstance(target, ast.Attribute) or not isinstance(target.value, ast.Name):
            continue
        row, texts = node.end_lineno, []
        while row in comments and (not texts or lines[row - 1].strip().startswith("#")):
            texts.append(comments[row])
            row += 1
        name = sections.get(target.value.id, f"{target.value.id}.") + target.attr
        notes.setdefault(name, " ".join(texts))
    return notes


def configuration_page() -> str:
    """Every field of the configuration: its value in each preset, and what configs/base.py says of it."""
    base = importlib.import_module("configs.base")
    values = [base.get_config("cheetah_run", preset) for preset in PRESETS]
    notes = field_notes()
    page = "# Configuration\n\nEvery field of `configs/base.py`, with its value in each preset of cheetah-run. "
    page += "An empty cell is the value of `paper`. Set a field with `--config.section.field=value`.\n"
    names = sorted(values[0], key=lambda name: place(name, list(notes)))
    simple = [name for name in names if not hasattr(values[0][name], "items")]
    page += table("", simple, values, notes)
    for section in (name for name in names if name not in simple):
        page += f"\n## {section}\n\n{notes.get(section, '')}\n"
        page += table(f"{section}.", list(values[0][section]), [value[section] for value in values], notes)
    return page


def table(prefix: str, names: list[str], values: list, notes: dict[str, str]) -> str:
    rows = [f"\n| field | {' | '.join(PRESETS)} | what it is |", "|---" * (2 + len(PRESETS)) + "|"]
    for name in sorted(names, key=lambda name: place(prefix + name, list(notes))):
        shown = [f"`{value[name]}`" if value[name] != "" else '`""`' for value in values]
        shown = shown[:1] + [now if now != shown[0] else "" for now in shown[1:]]
        note = re.sub(r"([|*_<\[\]])", r"\\\1", notes.get(prefix + name, ""))
        rows.append(f"| `{prefix}{name}` | {' | '.join(shown)} | {note} |")
    return "\n".join(rows) + "\n"


def write(folder: pathlib.Path):
    """Write all pages into `folder`; a page that would not change stays as it is, so that it is not built again."""
    folder.mkdir(exist_ok=True)
    found = rooms()
    pages = {f"{room}.rst": room_page(room, modules) for room, modules in found.items()}
    pages |= {"index.md": index_page(found), "configuration.md": configuration_page()}
    for path in folder.iterdir():
        if path.name not in pages:
            path.unlink()
    for name, text in pages.items():
        path = folder / name
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
