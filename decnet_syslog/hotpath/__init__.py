"""
Compiled versions of the loops that touch every line, if the package was installed with them.

C{_hotpath.c} encodes lines as frames, decodes frames to lines, and renders lines as records,
several times as fast as Python. It is compiled at installation if there is a C compiler.
Without it, or with C{DECNET_SYSLOG_PURE_PYTHON} in the environment, L{compiled} is C{None}.

What must be true: the octets are the same with and without it. Each function stops before the
first line or frame that it does not handle; L{decnet_syslog.wire._decoder} and
L{decnet_syslog.wire._record}, which define the result, continue from there.

Chosen: cffi. cryptography depends on it anyway, a module for the stable ABI serves every
Python release, a call releases the interpreter's lock, and plain C can be tested under
sanitizers without Python. Set aside: Cython and the C interface of the interpreter, which lack
the last two.
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
