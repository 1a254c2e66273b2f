"""The live page: what is going on, what is stuck, why, and what to press."""
