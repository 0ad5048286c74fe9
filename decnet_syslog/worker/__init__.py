"""
The worker: what a forwarder sends, to which master, and how it is assembled.

The package offers no names to other packages. twistd loads C{tap}, which the plugin names.
"""

__all__: list[str] = []
