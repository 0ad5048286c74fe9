The listener refuses ``--log-path`` and ``--json-path`` that were swapped (``--force-output`` overrides), and a path with braces
other than ``{worker}``. An output that was disabled for a time reports at start which lines it lacks. Two workers whose names lead
to the same path get separate files.
