"""A lake after its first month: what an owner does beside converting.

1. `completeness`: what is missing, by `delivery_windows`, `few_rows` and `lake_records`
2. `compacting`: small files are merged by `merging`, on an engine by `remote`, and rows sorted by
   `sorting`; `duplicates` leaves out what two `flow_logs` have
3. `expiring`: days are removed, and stay so

Each reads the ledger, and writes to the lake under the same lock as `conversion`.
"""
