"""The outputs: files to which the lines of the journal are appended, each line once."""

# Not for its names: OpenSSL must be loaded by it, before cryptography is imported here.
from .. import trust as trust
from ._feeds import OutputWriter, Steps
from ._interfaces import IOutput
from ._options import OUTPUT_FLAGS, OutputOptions, makeOutputs
from ._paths import WrongKind
from ._process import ListenerLock
from ._rendering import oneLine
from ._threads import Threads

__all__ = [
    "OUTPUT_FLAGS",
    "IOutput",
    "ListenerLock",
    "OutputOptions",
    "OutputWriter",
    "Steps",
    "Threads",
    "WrongKind",
    "makeOutputs",
    "oneLine",
]
