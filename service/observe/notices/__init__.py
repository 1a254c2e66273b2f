"""Messages to people who do not look: when a condition begins and when it is over (R16)."""
