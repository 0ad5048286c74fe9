"""Tests for L{decnet_syslog.doctor}."""
