"""Certificates and TLS: names, bundles, the authority, contexts. Belongs to neither wing."""

from .openssl import loadOpenSSL

# Before any module of ours imports cryptography: OpenSSL reads its configuration only then.
loadOpenSSL()
