"""Tests for L{decnet_syslog.trust}."""
