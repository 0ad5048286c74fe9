"""Tests for L{decnet_syslog.monitoring}."""
