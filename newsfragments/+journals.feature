What one master has acknowledged counts for that master only. A master whose journal was lost, put back to a backup
or snapshot, or is another one's, gets everything that is still on the worker's disk, rotated and compressed files
too, and takes what it lacks; nothing is repeated. ``--on-new-master=resume`` sends only what no master has. Both ends
speak ``decnet-syslog/2`` for it, and the older versions with older ends.
