"""The master's wing: reception, the journal, the outputs, the listener."""
