"""heap-cordial: keeps Cordial lists holding exactly the users of Heap segments."""

__version__ = "0.1.0"
