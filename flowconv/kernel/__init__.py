"""The native core: C in `src/`, and the modules that call it. Nothing else knows ctypes.

1. `library`: the compiled library, loaded when it is first needed.
2. `messages`: JSON of CloudWatch Logs -> text of logs.
3. `rows`: text of logs -> columns of Arrow.
4. `pages`: columns of Arrow -> pages of Parquet.
5. `metadata`, `decoding`: pages of Parquet that others wrote -> columns of Arrow.
"""
