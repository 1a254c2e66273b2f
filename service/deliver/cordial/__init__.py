"""Cordial's API: requests, calls, and what its answers mean."""
