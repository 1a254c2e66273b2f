"""How fast an account may be called."""
