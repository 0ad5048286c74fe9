"""Tests for L{decnet_syslog.hotpath}."""
