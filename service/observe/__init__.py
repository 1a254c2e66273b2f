"""Observe: show people and programs what the pipeline is doing; reads only."""
