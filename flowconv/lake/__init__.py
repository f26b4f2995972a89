"""Stages 7 and 8: pieces -> files that count; and a lake read again.

1. `writing`: pieces -> staged Parquet files; `quarantine_writing`: rejected lines.
2. `ledger`: one record makes a task's files count. `locking` keeps other runs out.
3. `scanning`, `status`, `quarantine`: a lake read again.
"""
