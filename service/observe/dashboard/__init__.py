"""The dashboard: what is going on, what is stuck, why, and what to press."""
