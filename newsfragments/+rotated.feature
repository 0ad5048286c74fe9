``--rotated PATTERN`` tells the forwarder where rotated files are that are not beside their log, or are named otherwise.
