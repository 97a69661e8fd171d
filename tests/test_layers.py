"""The rule of layers: a module imports only from its own room and from rooms above it."""

import ast
import graphlib
import pathlib

import pytest

import spin_jax

ROOMS = """
types errors command fields record envs data logs models objectives policies learners registry config training
evaluation frozen collect from_config stages export report run
""".split()  # noqa: SIM905 (an order to be read, not a list)
ROOT = pathlib.Path(spin_jax.__file__).parent
FILES = sorted(path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py")


def imported_modules(path: pathlib.Path) -> set[str]:
    """Absolute names of everything a file imports, inside functions too; `from a import b` counts as a and a.b."""
    names = set()
    package = ("spin_jax", *path.relative_to(ROOT).parent.parts)
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join((*above, *([node.module] if node.module else [])))
            names |= {base} | {f"{base}.{alias.name}" for alias in node.names}
    return names


def room(path: pathlib.Path) -> str:
    return path.relative_to(ROOT).with_suffix("").parts[0]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_imports_only_from_rooms_above_it(path):
    assert room(path) in ROOMS, f"give {room(path)} its place in ROOMS"
    allowed = ROOMS[: ROOMS.index(room(path)) + 1]
    inside = {name.split(".")[1] for name in imported_modules(path) if name.startswith("spin_jax.")}
    assert inside <= set(allowed), f"{path.name} imports {sorted(inside - set(allowed))} from rooms below its own"


def modules_of(path: pathlib.Path) -> set[str]:
    """The modules of the package that a file imports."""
    known = {name_of(p) for p in FILES}
    return {name for name in imported_modules(path) if name in known}


def name_of(path: pathlib.Path) -> str:
    return ".".join(("spin_jax", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__")


def test_no_import_leads_back_to_where_it_came_from():
    imports = {name_of(path): modules_of(path) - {name_of(path)} for path in FILES}
    order = graphlib.TopologicalSorter(imports)
    order.prepare()  # raises CycleError, naming the circle
    assert len(imports) > 60


def test_the_roof_is_small():
    """Types, errors, ranges of fields, names, the way from a configuration, commands; everything else has a room."""
    assert {path.stem for path in ROOT.glob("*.py")} == {
        "__init__",
        "types",
        "errors",
        "command",
        "fields",
        "registry",
        "from_config",
        "run",
    }


def test_errors_import_nothing():
    assert not imported_modules(ROOT / "errors.py")


def test_no_function_is_longer_than_a_screen_and_no_file_than_300_lines():
    for path in FILES:
        source = path.read_text()
        assert len(source.splitlines()) <= 300, path
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef):
                assert node.end_lineno - node.lineno < 60, f"{path.name}: {node.name}"


def test_public_functions_are_annotated():
    """Of modules and classes, without those that begin with an underscore; functions inside of others are free."""
    for path in FILES:
        tree = ast.parse(path.read_text())
        bodies = [
            tree.body,
            *(node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name[0] != "_"),
        ]
        for function in (node for body in bodies for node in body if isinstance(node, ast.FunctionDef)):
            if function.name.startswith("_"):
                continue
            arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
            bare = [a.arg for a in arguments if a.annotation is None and a.arg not in ("self", "cls")]
            assert not bare, f"{path.name}: {function.name} does not say what {bare} are"
            assert function.returns is not None, f"{path.name}: {function.name} does not say what it returns"


def test_only_the_dm_control_environment_imports_dm_control():
    importers = [path for path in FILES if any(name.split(".")[0] == "dm_control" for name in imported_modules(path))]
    assert importers == [ROOT / "envs" / "dm_control.py"]


def test_types_and_environments_do_not_import_jax():
    """Every environment worker would pay for it; those of environments that are JAX programs do."""
    pure = [ROOT / "envs" / name for name in ("maze.py", "pure.py", "structured.py")]
    light = [path for path in FILES if room(path) in ("types", "errors", "envs") and path not in pure]
    assert len(light) > 2
    for path in light:
        assert not modules_of(path) & set(map(name_of, pure)), path
        assert not {name for name in imported_modules(path) if name.split(".")[0] in ("jax", "flax", "optax")}, path
