"""The native core: C in `src/`, and the modules that call it. Nothing else knows ctypes.

1. `library`: the compiled library, loaded when it is first needed.
2. `rows`: text of logs -> columns of Arrow.
3. `pages`: columns of Arrow -> pages of Parquet.
"""
