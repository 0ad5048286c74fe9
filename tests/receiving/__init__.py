"""Tests for L{decnet_syslog.receiving}."""
