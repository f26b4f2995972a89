"""A lake after its first month: what an owner does beside converting.

1. `expiring`: days are removed, and stay so

Each reads the ledger, and writes to the lake as a run of its own, under the same lock.
"""
