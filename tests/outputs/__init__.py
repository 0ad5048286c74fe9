"""Tests for L{decnet_syslog.outputs}."""
