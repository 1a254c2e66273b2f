"""The commands of the service itself: serve, check, status."""
