"""Keep: deliveries, the ledger of members and the outcomes, durably."""
