"""Stages 7 and 8: pieces -> files that count; and what reads a lake again.

1. `writing`: pieces -> staged Parquet files; `quarantine`: lines that do not fit.
2. `ledger`: one record makes a task's files count. `locking` keeps other writers out.
3. `scanning`, `status`: a lake read again.
"""
