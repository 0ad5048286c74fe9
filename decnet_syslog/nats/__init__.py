"""
A journal that many listeners share: NATS JetStream.

The package offers no names to other packages. twistd loads C{tap}, which the plugin names, and
L{decnet_syslog.journal} loads C{_provider} by its name, so that no master needs a NATS library.
"""

__all__: list[str] = []
