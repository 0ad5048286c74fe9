"""
The largest arrangement there is, as real processes: three nodes of NATS with a replicated
stream, listeners behind a real HAProxy, the outputs, and workers. C{python -m tests.cluster}.
"""
