Many connections that send single lines cost the listener less: about a quarter less processor time in its main thread, although a line
of a crowd waits at most 15 ms for its commit, not 30. A connection that sends all the time gets one acknowledgement a second.
