"""Tests for L{decnet_syslog.wire}."""
