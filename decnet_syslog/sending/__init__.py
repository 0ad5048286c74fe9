"""Sending: what a connection of the forwarder sends, and what an ACK changes."""
