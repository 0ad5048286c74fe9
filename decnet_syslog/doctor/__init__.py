"""What keeps an end from working, found before it is missed: causes and cures."""
