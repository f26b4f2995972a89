"""Stages 4 to 6: blocks -> rows of one partition.

1. `extracting`: objects -> blocks -> parsed blocks, the one loop over them all.
2. `parsing`: a block -> columns, and the lines that do not fit; the native core reads them.
   `native_columns` takes blocks that are columns of these types already, `parquet_columns` others.
   `joining`: batches of few rows -> one.
3. `normalising`: the table's columns and types; `table_columns` names them, `schema` in Arrow.
4. `partitioning`: rows -> pieces, each of one partition.
5. `ocsf`: rows -> events of OCSF, as the last step before their file if the lake has such.
"""
