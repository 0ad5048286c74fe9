An acknowledgement counts only for the master that sent it. If a master's journal was lost, was restored from a backup
or snapshot, or belongs to another master, the forwarder offers it everything that is still on the worker's disk, including rotated
and compressed files. The master accepts the lines that it lacks, and nothing is repeated. ``--on-new-master=resume`` sends only
lines that no master has. Both ends use ``decnet-syslog/2`` for this, and the older versions with older ends.
