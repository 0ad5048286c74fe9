``--log-path`` and ``--json-path`` that were exchanged are refused (``--force-output``), and so is a path with braces other than
``{worker}``. An output that was left out for a time reports at start what it lacks. Two workers whose names make one path
have files of their own.
