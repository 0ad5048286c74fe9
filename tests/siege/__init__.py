"""
Everything that a hostile machine may try, at once, while a worker goes on sending.

    python -m tests.siege [--kinds K...] [--rst] [--memory]
"""
