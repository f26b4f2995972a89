"""A lake's tables in the catalogs of other engines, without copies of the data.

1. `live_tables`: a lake's ledger -> its tables, and the files of each that count
2. `footers`: files -> the least and the greatest times in them
3. `delta`, `iceberg`: a table -> one commit with the difference to what the catalog has;
   `glue`: the difference in partitions
4. `registering`: register() runs them

The difference is taken anew each time: a run that was killed between a commit of the lake and one
of a catalog leaves nothing but a larger difference to the next.
"""
