"""
The compiled way for what is done with every line, where there is one.

C{_hotpath.c} does three things faster than Python: lines to frames, frames to lines, lines to
records. It is compiled when the package is installed, if there is a compiler; else, or
with C{DECNET_SYSLOG_PURE_PYTHON} in the environment, L{compiled} is C{None}.

What must be true: nobody can tell from the octets which of the two ran. Each function stops in
front of the first line or frame that it does not take. L{decnet_syslog.wire.framing} and
L{decnet_syslog.wire.record}, which are the definition, go on from there.

Chosen: cffi, because cryptography brings it along, the module is for the stable ABI, a call
lets other threads run, and plain C can be fuzzed and run under sanitizers by itself. Set
aside: Cython and the interpreter's own C interface, for the same reasons.
"""

from ._functions import SCRATCH_OCTETS, Hotpath, Renderer, compiled, description, load

__all__ = [
    "SCRATCH_OCTETS",
    "Hotpath",
    "Renderer",
    "compiled",
    "description",
    "load",
]
