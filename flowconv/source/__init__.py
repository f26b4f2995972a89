"""Stages 1 and 3: prefix -> objects -> bytes.

1. `opening`: a path or URL -> a `Source`.
2. `listing`: its objects in order; `patterns` and `keys` say which, and what their keys tell.
3. `fetching`: their bytes, some objects ahead of the reader. `log_groups` reads CloudWatch Logs.
"""
