"""What the stages speak of. Pure, no I/O."""
