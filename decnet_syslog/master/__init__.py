"""
The listener: assembles journal, outputs and connections into a service.

The package offers no names to other packages. twistd loads C{tap}, which the plugin names.
"""

# Not for its names: OpenSSL must be loaded by it, before cryptography is imported here.
from .. import trust as trust

__all__: list[str] = []
