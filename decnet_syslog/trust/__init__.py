"""Certificates and TLS: names, bundles, the authority, contexts. Belongs to neither wing."""
