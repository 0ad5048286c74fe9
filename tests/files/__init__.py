"""Tests for L{decnet_syslog.files}."""
