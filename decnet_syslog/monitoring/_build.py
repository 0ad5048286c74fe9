"""The versions of this program and of its libraries."""

from __future__ import annotations

import platform
from functools import lru_cache

from OpenSSL import SSL

import twisted

from .. import __version__, hotpath

__all__ = ["buildFacts"]


@lru_cache(maxsize=1)
def _versions() -> dict[str, str]:
    openssl = SSL.SSLeay_version(SSL.SSLEAY_VERSION).decode("ascii", "replace")
    return {
        "version": __version__,
        "python": platform.python_version(),
        "twisted": twisted.__version__,
        # "OpenSSL 3.0.2 15 Mar 2022": the date is not needed.
        "openssl": " ".join(openssl.split()[1:2]),
    }


def buildFacts() -> dict[str, str]:
    """Versions, by name: labels of C{decnet_build_info}."""
    return {**_versions(), "hot_path": hotpath.description}
