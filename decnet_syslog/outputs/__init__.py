"""The outputs: files to which the lines of the journal are appended, each line once."""

# Not for its names: OpenSSL must be loaded by it, before cryptography is imported here.
from .. import trust as trust
