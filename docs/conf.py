"""The documentation site: `sphinx-build -W --keep-going -b html docs build/docs`.

Pages are the Markdown files beside this one, and those of the root of the repository that FROM_ROOT names. The API and
the reference of the configuration are written anew in each build (reference.py), from whatever modules there are.
"""

import os
import pathlib
import sys

DOCS = pathlib.Path(__file__).parent
ROOT = DOCS.parent
sys.path[:0] = [str(DOCS), str(ROOT)]
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import docstrings  # noqa: E402  these two lie beside this file
import reference  # noqa: E402

import spin_jax  # noqa: E402

project = "spin_jax"
author = "the spin_jax authors"
copyright = f"{author}, Apache-2.0"
release = version = spin_jax.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx_copybutton"]
exclude_patterns = ["_build"]
myst_heading_anchors = 3

default_role = "code"
highlight_language = "text"
smartquotes = False
add_module_names = False
python_maximum_signature_line_length = 88
python_use_unqualified_type_names = True
toc_object_entries_show_parents = "hide"
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_inherit_docstrings = False
autodoc_default_options = {"members": True}

html_theme = "furo"
html_title = f"spin_jax {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#a34f00", "color-brand-content": "#1f6fb2"},
    "dark_css_variables": {"color-brand-primary": "#ffb366", "color-brand-content": "#79b8f0"},
}
pygments_style = "friendly"
pygments_dark_style = "monokai"

FROM_ROOT = {
    "index": "README.md",
    "contributing": "CONTRIBUTING.md",
    "benchmarks": "benchmarks/README.md",
    "launch": "launch/README.md",
    "changelog": "CHANGELOG.md",
}


def fill(app, page, source):
    """Put the root's file in place of a page that stands for it, and point links at pages of the site."""
    file, text = DOCS / f"{page}.md", source[0]
    if page in FROM_ROOT:
        toctrees = text[text.index("```{toctree}") :] if "```{toctree}" in text else ""
        file = ROOT / FROM_ROOT[page]
        app.env.note_dependency(str(file))  # so that a change of it alone builds the page again
        text = reference.on_the_site(file.read_text(), file.parent, FROM_ROOT) + "\n\n" + toctrees
    elif file.exists():
        text = reference.on_the_site(text, file.parent, FROM_ROOT, file.parent)
    source[0] = text


def setup(app):
    app.connect("builder-inited", lambda app: reference.write(DOCS / "api"))
    app.connect("source-read", fill)
    app.connect("autodoc-process-docstring", docstrings.process)
    app.connect("autodoc-process-signature", docstrings.signature)
    app.connect("autodoc-skip-member", docstrings.skip)
