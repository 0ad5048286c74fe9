"""
Ours and rsyslog side by side: how fast, with how much CPU and memory, how late.

Each module is a command that needs no arguments, C{python -m benchmarks.bulk}; what it has
measured is in C{results/}, as JSON and as a plot. Needed: C{pip install '.[benchmark]'} (for
the plots), Debian's rsyslog, rsyslog-openssl and rsyslog-relp.
"""
