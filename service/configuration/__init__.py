"""How a configuration is read: its keys, the document they stand in, and the rules they must keep."""
