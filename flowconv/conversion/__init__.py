"""convert(): a run.

1. `pending`: the objects that the ledger lacks; `planning`: objects -> tasks.
2. `converting`: the run, from the lock to the report; `dry_run`: its plan alone.
3. `task`: a task, from its objects to its commit.
4. `report`: what a run did; `new_headers`: headers that queries may not know.
"""
