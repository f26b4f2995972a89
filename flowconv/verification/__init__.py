"""verify(): a lake and its source held against the ledger.

1. `verifying`: the lake's files.
2. `recounting`: the source's objects, and their lines counted again.
3. `repairing`: what is damaged is forgotten, if it can be converted again.
4. `problems`: what was found, and what to do.
"""
