"""
DECNET's own configuration, read as a last resort: what an enrolled worker knows needs no typing.

DECNET seeds its environment from C{/etc/decnet/decnet.ini} (or the file that C{DECNET_CONFIG}
names). A variable that is exported wins. The keys of C{[decnet]}, and of C{[agent]} or C{[master]}
as C{mode} says, become C{DECNET_KEY}; those of C{[swarm]} and C{[logging]} have separate names
(decnet/config_ini.py of DECNET 1.2.1). Nothing is written to the environment here.
"""

from __future__ import annotations

import configparser
import os
from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["INI", "DecnetSettings", "readSettings"]

INI = "/etc/decnet/decnet.ini"

# The file has two screens of text.
INI_OCTETS_MAX = 256 * 1024

_NAMES = {
    ("swarm", "master-host"): "DECNET_SWARM_MASTER_HOST",
    ("swarm", "syslog-port"): "DECNET_SWARM_SYSLOG_PORT",
    ("logging", "ingest-log"): "DECNET_INGEST_LOG_FILE",
    ("logging", "agent-log"): "DECNET_AGENT_LOG_FILE",
}

# DECNET's own defaults on an enrolled worker.
_OF_AGENT = {
    "DECNET_AGENT_DIR": "/etc/decnet/agent",
    "DECNET_AGENT_LOG_FILE": "/var/log/decnet/agent.log",
}


@dataclass
class DecnetSettings:
    """
    DECNET's variables.

    @ivar values: by the variable's name: its value, and where it comes from, in words.
    @ivar trouble: why the file could not be used; "": it was, or there is none.
    """

    values: dict[str, tuple[str, str]] = field(default_factory=dict)
    trouble: str = ""

    def first(self, names: tuple[str, ...]) -> tuple[str, str] | None:
        """The value and the source of the first of these variables that has a value."""
        found = (self.values[name] for name in names if name in self.values)
        return next(found, None)


def readSettings(environment: Mapping[str, str], path: str = INI) -> DecnetSettings:
    """
    DECNET's variables, from the environment and its file.

    @param path: the file, unless C{DECNET_CONFIG} names another one.
    """
    path = environment.get("DECNET_CONFIG") or path
    exported = {
        name: (value, f"environment {name}")
        for name, value in environment.items()
        if name.startswith("DECNET_") and value.strip()
    }
    try:
        parser = _parse(path)
    except (FileNotFoundError, NotADirectoryError):
        return DecnetSettings(exported)
    except OSError as error:
        return DecnetSettings(exported, f"{path}: {error.strerror}")
    except (configparser.Error, ValueError) as error:
        # Its messages have several lines.
        return DecnetSettings(exported, " ".join(f"{path}: {error}".split())[:300])
    found: dict[str, tuple[str, str]] = {}
    given = environment.get("DECNET_MODE") or parser.get("decnet", "mode", fallback="")
    mode = (given or "master").strip().lower()
    for section in ("decnet", mode, "swarm", "logging"):
        if not parser.has_section(section):
            continue
        for key, value in parser.items(section):
            name = _NAMES.get((section, key))
            if name is None and section in ("decnet", mode):
                name = "DECNET_" + key.replace("-", "_").upper()
            if name is not None and value.strip():
                found.setdefault(name, (value.strip(), f"{path} [{section}] {key}"))
    if mode == "agent":
        for name, value in _OF_AGENT.items():
            found.setdefault(name, (value, f"{path} [decnet] mode = agent"))
    return DecnetSettings({**found, **exported})


def _parse(path: str) -> configparser.ConfigParser:
    # Not blocking: a pipe without a writer would stop the start for ever.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with open(descriptor, "rb") as file:
        octets = file.read(INI_OCTETS_MAX + 1)
    if len(octets) > INI_OCTETS_MAX:
        raise ValueError(f"longer than {INI_OCTETS_MAX} octets")
    parser = configparser.ConfigParser(
        inline_comment_prefixes=("#", ";"), interpolation=None
    )
    parser.read_string(octets.decode("utf-8"), path)
    return parser
