"""
The trial suite: a tree that mirrors the packages, with contracts, conversations and campaigns.

Doubles, peers and other helpers are modules of this package.
"""

try:
    from hypothesis import HealthCheck, settings
except ImportError:
    # Campaigns and benchmarks do without it.
    pass
else:
    # A busy machine generates examples slowly: this is no fault of a test.
    settings.register_profile(
        "busy", deadline=None, suppress_health_check=[HealthCheck.too_slow]
    )
    settings.load_profile("busy")
