"""Many accounts at once: who is in which segment, the stand-ins, the service over all of them, the phases, the report."""
