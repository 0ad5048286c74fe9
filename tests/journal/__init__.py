"""Tests for L{decnet_syslog.journal}."""
