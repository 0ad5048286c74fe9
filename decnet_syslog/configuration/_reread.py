"""
SIGHUP: read the configuration again, use options that can change while the service runs, and log
the others.

The same sources are read in the same order as at the start. A mistake anywhere leaves everything
as it is. An option that cannot change needs a restart, which loses and repeats nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from twisted.logger import Logger
from twisted.python import usage

from ..boundaries import OptionValue
from ..errors import sentence
from ._options import Configured

__all__ = ["Changes", "Reread"]

# The function to call with the new options when any of these has changed.
Changes: TypeAlias = Sequence[tuple[frozenset[str], Callable[[OptionValue], None]]]


class Reread:
    """
    Reads the options of a service again.

    @ivar options: the options in use. One that needs a restart has its old value here.
    """

    _log = Logger()

    def __init__(self, options: Configured, changes: Changes) -> None:
        self.options = options
        self._values = _values(options)
        self._changes = changes

    def __call__(self) -> None:
        """Read again, and use the changed values."""
        fresh = type(self.options)()
        try:
            fresh.parent = self.options.parent
            fresh.parseOptions(self.options.words)
        except (usage.UsageError, SystemExit) as error:
            self._log.error(
                "cannot use the configuration: {mistake} The old one stays in use",
                event="reload-refused",
                mistake=sentence(str(error)),
                reason=str(error),
            )
            return
        new = _values(fresh)
        changed = {name for name in new if new[name] != self._values.get(name)}
        used: set[str] = set()
        for names, use in self._changes:
            if changed & names:
                use(fresh)
                used |= changed & names
        for name in used:
            self._values[name] = new[name]
        if used:
            self._log.info(
                "configuration read again; changed: {names}",
                event="reloaded",
                names=", ".join(sorted(used)),
            )
        if not changed:
            self._log.info("configuration read again; nothing in it has changed")
        rest = changed - used
        if rest:
            self._log.warn(
                "configuration read again; these options change only with a restart, which"
                " loses nothing: {names}",
                event="reload-refused",
                names=", ".join(sorted(rest)),
                reason="restart to change " + ", ".join(sorted(rest)),
            )


def _values(options: Configured) -> dict[str, object]:
    values: dict[str, object] = {}
    for name in options.names:
        value = options.valueOf(name)
        values[name] = list(value) if isinstance(value, list) else value
    return values
