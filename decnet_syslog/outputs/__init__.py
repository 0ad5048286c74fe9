"""
The outputs: files to which the lines of the journal are appended, each line once.

To add
    - a format of files: a L{Format}, added to L{FORMATS}; its options and outputs follow from that;
    - another kind of output: the protocol L{IOutput}; L{FileOutput} is the usual one, and
      L{makeOutputs} makes the outputs that the options name.

To run them
    - L{OutputWriter} and L{Steps} give each output the batches that it lacks, in L{Threads};
    - L{OutputOptions} and L{OUTPUT_FLAGS}: the options; L{ListenerLock}: one writer at a time;
    - L{WrongKind}: a file has lines of another format.
"""

# Imported for its side effect: it must load OpenSSL before cryptography is imported here.
from .. import trust as trust
from ._feeds import OutputWriter, Steps
from ._fileoutput import FileOutput
from ._interfaces import IOutput
from ._options import OUTPUT_FLAGS, OutputOptions, makeOutputs
from ._paths import WrongKind
from ._process import ListenerLock
from ._rendering import FORMATS, Format, oneLine
from ._threads import Threads

__all__ = [
    "FORMATS",
    "OUTPUT_FLAGS",
    "FileOutput",
    "Format",
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
