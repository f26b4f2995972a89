"""convert(): a run.

1. `pending`: the objects that the ledger lacks; `planning`: objects -> tasks.
2. `converting`: the run, from the lock to the report; `dry_run`: its plan alone.
3. `task`: a task, from its objects to files that are not visible yet (`attempt`: one pass over
   them); `remote`: on an engine.
4. `committing`: its files made visible, and its commit.
5. `report`: what a run did; `new_headers`: headers that queries may not know;
   `logged_interfaces`: flow logs that overlap.
"""
