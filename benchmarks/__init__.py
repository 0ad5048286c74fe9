"""
Our programs and rsyslog compared: speed, CPU time, memory and delay.

Each module is a command that needs no arguments, such as C{python -m benchmarks.bulk};
it writes its measurements to C{results/}, as JSON and as a plot, and C{python -m
benchmarks.docs} takes them into the documentation. Needed: C{pip install
'.[benchmark]'} (for the plots), Debian's rsyslog, rsyslog-openssl and rsyslog-relp.
"""
