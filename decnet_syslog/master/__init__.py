"""The listener: assembles journal, outputs and connections into a service."""

# Not for its names: OpenSSL must be loaded by it, before cryptography is imported here.
from .. import trust as trust
