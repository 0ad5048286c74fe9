``--rotated PATTERN`` tells the forwarder where to find rotated files that are in another directory than their log, or have other names.
