"""The peers' own programs: they import nothing of the service, and run on packages that it does not have."""
