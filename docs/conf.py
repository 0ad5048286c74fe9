"""
The documentation: ``sphinx-build -W -b html docs docs/_build``.

The directive ``options`` takes the options from the programs, so that no page repeats them.
"""

from __future__ import annotations

import importlib
import posixpath
import re
import sys
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.parsers.rst import Directive
from docutils.statemachine import StringList

sys.path.insert(0, str(Path(__file__).parent.parent))

from decnet_syslog import __version__
from decnet_syslog.options import asSize, octets

project = "decnet_syslog"
author = "the project's authors"
release = version = __version__
extensions: list[str] = []
exclude_patterns = ["_build", "examples"]
html_theme = "alabaster"
html_theme_options = {
    "description": "Log lines from machines under attack, delivered exactly once",
    "page_width": "1080px",
    "fixed_sidebar": True,
}
html_sidebars = {"**": ["about.html", "searchbox.html", "navigation.html"]}
html_show_sourcelink = False


def described(options: Any) -> list[str]:
    """The options of a command as a definition list."""
    found: dict[str, tuple[str, str]] = {}
    cls = type(options)
    for base in reversed(cls.__mro__):
        for name, _, default, text, *coerce in vars(base).get("optParameters", ()):
            if coerce == [octets]:
                default = asSize(default)
            said = "" if default in (None, "") else f" [{default}]"
            found[name] = ("=VALUE", text + said)
        for name, _, text, *_rest in vars(base).get("optFlags", ()):
            found[name] = ("", text)
    for name in dir(cls):
        if name.startswith("opt_") and name not in ("opt_version", "opt_help"):
            method = getattr(cls, name)
            found[name[4:].replace("_", "-")] = ("=VALUE", method.__doc__.strip())
    for word in options.longOpt:
        name = word.rstrip("=")
        if name not in ("version", "help"):
            # Options that are added when the object is made: of the outputs' formats.
            found.setdefault(name, ("=VALUE", options.docs[name]))
    lines: list[str] = []
    for name, (value, text) in sorted(found.items()):
        plain = re.sub(r"([*`|_])", r"\\\1", " ".join(text.split()))
        lines += [f"``--{name}{value}``", f"    {plain}", ""]
    return lines


class OptionsDirective(Directive):
    """``.. options:: module [Class]``: the options of a command."""

    required_arguments = 1
    optional_arguments = 1

    def run(self) -> list[nodes.Node]:
        """The help's text, then the options."""
        module = importlib.import_module(self.arguments[0])
        name = self.arguments[1] if len(self.arguments) > 1 else "Options"
        options = getattr(module, name)()
        long = nodes.literal_block("", options.longdesc)
        long["language"] = "none"
        here = nodes.container()
        lines = described(options)
        self.state.nested_parse(StringList(lines, "options"), self.content_offset, here)
        return [long, *here.children]


def linkPages(app: Any, doctree: Any) -> None:
    """
    Pages are linked by their sources' names, which GitHub follows, too. The pages of the root
    directory are included by pages in docs/.
    """
    here = posixpath.dirname(app.env.docname)
    for reference in doctree.findall(nodes.reference):
        match = re.fullmatch(r"([\w/.-]+)\.rst(#.*)?", reference.get("refuri", ""))
        if match is None:
            continue
        # From a page here, from one that it includes, or to a page of the root directory.
        path = posixpath.normpath(posixpath.join(here, match[1]))
        for name in (
            path,
            path.removeprefix("docs/"),
            path.removeprefix("../").lower(),
        ):
            if name in app.env.found_docs:
                uri = posixpath.relpath(name, here or ".")
                reference["refuri"] = f"{uri}.html{match[2] or ''}"
                break


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.add_directive("options", OptionsDirective)
    app.connect("doctree-read", linkPages)
