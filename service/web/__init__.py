"""What everything that speaks HTTP shares: connections, addresses, TLS, error answers, files."""
