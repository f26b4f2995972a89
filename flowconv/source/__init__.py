"""Stages 1 (list) and 3 (fetch): prefix -> objects -> bytes.

1. `opening`: a path or URL -> a `Source`: a storage's objects, or `log_groups` for CloudWatch Logs.
2. `listing`: its objects in order; `selection` and `patterns` choose, `keys` reads their keys.
   `inventory`: the same by an S3 Inventory.
3. `fetching`: their bytes, fetched ahead of the reader.
"""
