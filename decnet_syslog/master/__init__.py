"""The master's wing: reception, the journal, the outputs, the listener."""

# Not for its names: OpenSSL must be loaded by it, before cryptography is imported here.
from .. import trust as trust
