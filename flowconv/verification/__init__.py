"""verify(): a lake and its source compared with the ledger.

1. `verifying`: all steps in order.
2. `lake_files`: the lake's files.
3. `recounting`: the source's objects, and their lines counted again.
4. `checking`: runs the checks of both, here or on an engine; `checks`: what a check is.
5. `repairing`: damaged tasks are forgotten if they can be converted again.
6. `problems`: what was found, and what to do.
"""
