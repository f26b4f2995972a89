"""Tables of Arrow -> Parquet files. Knows nothing of logs.

1. `writing`: the writer; row groups, the order of their rows, the whole file.
2. `columns`: a column of Arrow -> values and a number for each row; dictionary or not.
3. `chunks`: a column -> its pages, compressed by `compression`. `bloom` says which texts are not in
   them.
4. `footer`: what says where everything lies. `thrift` is how it is written; `types` are the types.
"""
