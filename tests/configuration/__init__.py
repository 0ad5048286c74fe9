"""Tests for L{decnet_syslog.configuration}."""
