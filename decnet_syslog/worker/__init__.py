"""The worker: what a forwarder sends, to which master, and how it is assembled."""
