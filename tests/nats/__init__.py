"""Tests for L{decnet_syslog.nats}."""
