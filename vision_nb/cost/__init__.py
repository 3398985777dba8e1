"""Image costs: token rules, prices, estimates, and the ledger of calls."""

__all__: list[str] = []  # nothing here is public: import from vision_nb
