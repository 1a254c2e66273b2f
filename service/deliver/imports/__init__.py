"""Imports: many changes travel as one file that Cordial fetches, and what a file cannot do is left to calls."""
