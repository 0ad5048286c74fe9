"""Campaigns: programs that search for faults for minutes or hours, and a sample of each."""
