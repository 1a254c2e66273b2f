"""Comparing what should be on a list with what Cordial says is there."""
