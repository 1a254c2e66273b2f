"""Trials: doing what Cordial's documents leave open, on a real account, before files are used there (R14)."""
