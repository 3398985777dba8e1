"""``%%vision`` and ``%vision``: parse, delegate, return."""
