"""Tests for L{decnet_syslog.commands}."""
