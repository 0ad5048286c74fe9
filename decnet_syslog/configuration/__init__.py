"""
The configuration file of a service: TOML, with every option of its command line under its own
name.

Requirements: no option needs an entry here to be in the file. Every mistake in the file is reported
with its line, in one line, before anything is opened.
"""

from ._options import COMMON_GROUPS, Configured
from ._reread import Reread
from ._shown import showConfiguration

__all__ = [
    "COMMON_GROUPS",
    "Configured",
    "Reread",
    "showConfiguration",
]
