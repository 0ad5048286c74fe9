"""Octets to values and back: framing, control lines, RFC 5424, DECNET records."""
