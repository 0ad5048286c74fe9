The status page is new: journal and outputs at the top, problems with their remedies, red for errors and amber for
warnings, charts with axes, sorting by column, filters by state, a search that shows its result while one types, one
line for each of many workers. ``decnet-syslog status`` selects and sorts, too: ``--state``, ``--match``, ``--sort``,
``--reverse``, ``--limit``. ``/status.json`` has the members ``host``, ``uptime``, ``lines``,
``lines_per_second_lately`` and ``lines_per_second_day``, and of each problem ``severity`` and ``remedy``.
