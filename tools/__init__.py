"""What those who work on the repository run to make parts of it."""
