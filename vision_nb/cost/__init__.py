"""What images cost: token rules, prices, estimates and the ledger."""
