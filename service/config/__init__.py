"""Configuration: its keys, how it is read and checked, and what a reload changes."""
