"""Figures for Prometheus: what happened is counted as it happens, what is so is read when somebody asks."""
