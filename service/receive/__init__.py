"""Receive: take Heap's pages, prove them authentic, understand them, and answer once they are durable."""
