"""The trial suite: one module per room, plus doubles, peers and conversations."""
