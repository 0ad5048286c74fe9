"""The doctor: finds what would keep a worker or a master from working, with the remedy."""
