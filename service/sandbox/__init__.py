"""Sandbox: a stand-in Cordial, a Heap-like sender and the demo, for trying everything without an account."""
