"""Conversations: several parts at once, in memory or with real processes."""
