"""The services as commands of their own, without the options of twistd."""

from __future__ import annotations

import importlib
from typing import Any

from twisted.application.service import IServiceMaker
from twisted.plugin import getPlugins
from twisted.python import usage

__all__ = ["runService"]


def runService(name: str, options: usage.Options) -> int:
    """
    Run a service as twistd would with C{--nodaemon --pidfile=}, until it stops. Its log goes to
    standard output.

    @param name: the name of the twistd command.
    @param options: its options, parsed.
    """
    # Imported here, because this installs the reactor.
    scripts: Any = importlib.import_module("twisted.scripts.twistd")

    config = scripts.ServerOptions()
    config.parseOptions(
        ["--nodaemon", "--pidfile=", "--logger=decnet_syslog.logs.text"]
    )
    # What twistd has after it has parsed its command line.
    config["no_save"] = True
    config.subCommand, config.subOptions = name, options
    config.loadedPlugins = {
        one.tapname: one for one in getPlugins(IServiceMaker) if one.tapname == name
    }
    scripts.runApp(config)
    return 0
