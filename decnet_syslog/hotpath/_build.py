"""
How C{_hotpath.c} becomes the module C{decnet_syslog.hotpath._hotpath}: for setup.py.

The module is optional: where it cannot be compiled, Python does the same work
(L{decnet_syslog.hotpath}). It is for the stable ABI, so one build serves every release
of Python.
"""

from __future__ import annotations

from pathlib import Path

from cffi import FFI

_HERE = Path(__file__).parent
_HEADER = (_HERE / "_hotpath.h").read_text("ascii")

builder = FFI()
# cffi reads declarations, no directives of the preprocessor.
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
