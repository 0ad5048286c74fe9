"""
The largest arrangement, with real processes: three NATS nodes with a replicated stream,
listeners behind a real HAProxy, the outputs, and workers. C{python -m tests.campaigns.cluster}.
"""
