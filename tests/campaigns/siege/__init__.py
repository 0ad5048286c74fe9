"""
Every attack that a hostile machine may try, all at once, while a worker keeps sending.

    python -m tests.campaigns.siege [--kinds K...] [--memory]
"""
