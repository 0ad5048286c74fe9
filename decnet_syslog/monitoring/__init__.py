"""Monitoring, for both ends: events, alarms, metrics, status page."""
