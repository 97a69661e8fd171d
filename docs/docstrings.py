"""Docstrings as the site shows them: plain text with `code` in backticks, whatever reStructuredText would make of it.

A docstring here is paragraphs of prose, lists with `- ` or `1. `, and lines such as `init(key) -> params` or `name:
what it is`, continued by indented lines. All of it becomes reStructuredText in which nothing but these has a meaning,
so that no docstring can break the build.
"""

import ast
import dataclasses
import inspect
import re
import textwrap

ITEM = re.compile(r"(- |\d+\. )|[\w.]+\(.*?\) ->|[\w.\[\], ]{1,40}: ")
CALL = r"[\w.]+\([^()]*(?:\([^()]*\)[^()]*)*\)"
RESULT = r"(?:(?:\w+ )?\[[^\]]*\]|\([^()]*\)|[\w.]+)(?: u?(?:int|float|bool)\d*)?(?=[;:,.]|$)"
HEAD = re.compile(rf"{CALL} -> {RESULT}|{CALL}(?= ->)|[\w.]+(?:, [\w.]+)*(?=: )")
SPECIAL = re.compile(r"([\\*|_<>:`])")


def inline(text: str) -> str:
    """Text with `code` and ``code`` as literals and everything else escaped."""
    parts = re.split(r"``(.+?)``|`([^`]+)`", text)
    plain, codes = parts[::3], [double or single for double, single in zip(parts[1::3], parts[2::3], strict=True)]
    result = SPECIAL.sub(r"\\\1", plain[0])
    for code, following in zip(codes, plain[1:], strict=True):
        result += f"\\ ``{code.strip()}``\\ " + SPECIAL.sub(r"\\\1", following)
    return result


def item(text: str) -> str:
    """A line of a list; what it is about comes first, as code."""
    text = re.sub(r"^(- |\d+\. )", "", text)
    head = HEAD.match(text)
    if head and "`" not in head.group():
        return f"``{head.group().strip()}``" + inline(text[head.end() :])
    return inline(text)


def paragraph(lines: list[str]) -> list[str]:
    """A paragraph as one of prose, or, from its first item on, as a list; indented lines continue what is above."""
    prose, items = [], []
    for line in lines:
        indented = line[:1].isspace()
        if ITEM.match(line) and not indented and (items or not prose or line.startswith(("- ", "1. ")) or "->" in line):
            items.append([line.strip()])
        elif items:
            items[-1].append(line.strip())
        else:
            prose.append(line.strip())
    written = [inline(" ".join(prose)), ""] if prose else []
    if len(items) == 1 and not prose and not lines[0].startswith("- "):
        return [inline(" ".join(items[0])), ""]
    for each in items:
        written.append(f"* {item(' '.join(each))}")
    return [*written, ""] if items else written


def blocks(lines: list[str]) -> list[str]:
    """All paragraphs; one that is indented as a whole is code."""
    written, current = [], []
    for line in [*lines, ""]:
        if line.strip():
            current.append(line)
        elif current:
            if all(each.startswith("    ") for each in current):
                written += ["::", "", *current, ""]
            else:
                written += paragraph(current)
            current = []
    return written


def source_of(obj) -> tuple[list[str], list[ast.stmt]]:
    """The lines of a class or function and the statements of its body; two empty lists without a source."""
    try:
        source = textwrap.dedent(inspect.getsource(obj))
        return source.splitlines(), ast.parse(source).body[0].body
    except (OSError, TypeError, SyntaxError, IndexError, AttributeError):
        return [], []


def fields(cls: type) -> list[str]:
    """The annotated fields of a class as its source has them, with the comments behind them."""
    lines, body = source_of(cls)
    found = []
    for node in body:
        if isinstance(node, ast.AnnAssign):
            end = node.end_lineno
            while end < len(lines) and lines[end].strip().startswith("#"):
                end += 1
            found += lines[node.lineno - 1 : end]
    return textwrap.dedent("\n".join(found)).splitlines()


def inner(function) -> list[str]:
    """What the functions inside of a maker say of themselves, such as the order of a learner's update."""
    written = []
    for node in source_of(function)[1]:
        if isinstance(node, ast.FunctionDef) and ast.get_docstring(node):
            said = " ".join(ast.get_docstring(node).split())
            written += [f"* ``{node.name}({', '.join(arg.arg for arg in node.args.args)})``: {inline(said)}"]
    return [*written, ""]


def process(app, what, name, obj, options, lines):
    """autodoc's hook: the docstring as above, and behind it the fields of a class or what a maker makes."""
    if what == "class" and dataclasses.is_dataclass(obj) and lines and lines[0].startswith(f"{obj.__name__}("):
        lines[:] = []  # made by dataclass: the signature, which stands above
    written = blocks(list(lines))
    if what == "class" and (shown := fields(obj)):
        written += [".. code-block:: python", "", *(f"    {line}" for line in shown), ""]
    if what == "function" and name.rpartition(".")[2].startswith("make_"):
        written += inner(obj)
    lines[:] = [*written, ""]


def skip(app, what, name, obj, skipped, options):
    """autodoc's hook: the fields of a NamedTuple have no docstrings of their own."""
    return True if (inspect.getdoc(obj) or "").startswith("Alias for field number") else None


def signature(app, what, name, obj, options, arguments, result):
    """autodoc's hook: the fields of a class stand below its docstring, so its signature need not repeat them."""
    return ("", None) if what == "class" and fields(obj) else None
