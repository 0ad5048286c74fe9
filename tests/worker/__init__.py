"""Tests for L{decnet_syslog.worker}."""
