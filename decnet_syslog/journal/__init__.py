"""The journal: positions and lines, committed in one atomic step."""

# Not for its names: OpenSSL must be loaded by it, before cryptography is imported here.
from .. import trust as trust
