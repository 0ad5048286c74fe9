"""A journal that many listeners share: NATS JetStream."""
