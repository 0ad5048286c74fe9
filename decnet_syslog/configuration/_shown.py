"""The options of a service as a configuration file, with the source of each value."""

from __future__ import annotations

import json
import os

from ..boundaries import OptionValue
from ..options import asSize, octets
from ._options import Configured

__all__ = ["showConfiguration"]


def showConfiguration(options: Configured) -> str:
    """
    Every option in TOML, with a comment that tells where its value comes from. Defaults are
    comments, so that the service reads the text back as the same options.
    """
    lines: list[str] = []
    rows = [(name, *_shown(options, name)) for name in options.names]
    rows = [
        (name, f"{name} = {value}" if value else name, source)
        for name, value, source in rows
    ]
    width = 2 + max(len(text) for _, text, _ in rows if len(text) < 60)
    section = None
    for name, text, source in rows:
        if options.groupOf(name) != section:
            section = options.groupOf(name)
            lines += [*([""] if lines else []), f"[{section}]"]
        if not options.isGiven(name):
            text = f"# {text}"
        lines.append(f"{text:{width}}  # {source}")
    return "\n".join(lines)


def _shown(options: Configured, name: str) -> tuple[str, str]:
    value, source = options.valueOf(name), options.sourceOf(name)
    if value is None or value == []:
        return "", _text(source) if options.isGiven(name) else "not set"
    return _toml(value, options.coerceOf(name) is octets), _text(source)


def _toml(value: OptionValue, isSize: bool) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return f"[{', '.join(_toml(one, isSize) for one in value)}]"
    if isSize:
        return json.dumps(asSize(value))
    if isinstance(value, int | float):
        return f"{value:.12g}"
    return _text(json.dumps(os.fspath(value), ensure_ascii=False))


def _text(text: str) -> str:
    """Characters that a terminal or TOML refuses are escaped."""
    return "".join(
        one if one.isprintable() and not "\ud800" <= one <= "\udfff" else _escaped(one)
        for one in text
    )


def _escaped(one: str) -> str:
    # An octet of a path that is not UTF-8 has no form in TOML.
    if "\ud800" <= one <= "\udfff":
        return "\ufffd"
    return f"\\u{ord(one):04x}" if ord(one) < 0x10000 else f"\\U{ord(one):08x}"
