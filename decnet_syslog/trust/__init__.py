"""Certificates and TLS, for both ends: names, bundles, the authority, contexts."""

from ._openssl import loadOpenSSL

# Runs before any module of ours imports cryptography: OpenSSL reads its configuration only then.
loadOpenSSL()
