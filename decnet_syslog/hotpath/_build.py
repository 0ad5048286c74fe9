"""
Builds the extension module C{decnet_syslog.hotpath._hotpath} from C{_hotpath.c}; setup.py uses it.

The module is optional: an installation continues if it cannot be compiled. It uses only the
stable ABI, so one build serves every Python release.
"""

from __future__ import annotations

from pathlib import Path

from cffi import FFI

_HERE = Path(__file__).parent
_HEADER = (_HERE / "_hotpath.h").read_text("ascii")

builder = FFI()
# cffi parses declarations, but no preprocessor directives.
builder.cdef(
    "\n".join([line for line in _HEADER.splitlines() if not line.startswith("#")])
)
builder.cdef("#define DECNET_HOTPATH_VERSION ...")
builder.set_source(
    "decnet_syslog.hotpath._hotpath",
    '#include "_hotpath.h"',
    sources=["decnet_syslog/hotpath/_hotpath.c"],
    depends=["decnet_syslog/hotpath/_hotpath.h"],
    include_dirs=["decnet_syslog/hotpath"],
    extra_compile_args=["-std=c99", "-O3"],
    optional=True,
)
