"""The JSON API under `/api/v1`: what is happening, and the actions that steer it."""
