"""What an operator sees: events, alarms, metrics, status. Belongs to neither wing."""
