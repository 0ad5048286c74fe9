"""
The listener: assembles journal, outputs and connections into a service.

The package offers no names to other packages. twistd loads C{tap}, which the plugin names.
"""

# Imported for its side effect: it must load OpenSSL before cryptography is imported here.
from .. import trust as trust

__all__: list[str] = []
