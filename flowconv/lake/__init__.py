"""Stages 7 and 8: pieces -> files that count; and a lake read again.

1. `writing`: pieces -> staged Parquet files, with `ocsf_writing` of OCSF; `quarantine_writing`:
   rejected lines.
2. `compacted`: files with rows of many tasks, each row with its task; `separating` puts the rows of
   some into files of their own, and `swapping` makes such files count in the place of others.
3. `ledger`: one record makes a task's files count. `snapshot`: what all records say. `merging`
   puts them into `checkpoints`, which have the tables of `checkpoint_tables`. `locking` keeps other
   runs out.
4. `scanning`, `status`, `quarantine`, `converted_objects`: a lake read again.
"""
