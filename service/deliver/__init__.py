"""Deliver: send what the ledger owes to Cordial, no faster than allowed, one call at a time per contact."""
