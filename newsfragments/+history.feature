The listener speaks ``decnet-syslog/2``: it tells forwarders how far its journal has advanced, and whether the journal still
has the history that they remember. If the two ends share no version, the log says which one to upgrade.
