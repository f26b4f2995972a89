"""convert(): a run.

1. `planning`: objects -> tasks; `pending`: which objects the ledger lacks.
2. `converting`: the run, from the lock to the report.
3. `task`: one task, from its objects to its commit.
4. `report`: what a run did.
"""
