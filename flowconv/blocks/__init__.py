"""Stage 3: bytes -> blocks of whole lines, or of rows.

1. `unpacking`: gzip is undone.
2. `shapes`: what shape an object has, from its first bytes.
3. `formats`, `declared_formats`: which field each value is of.
4. `reading`: objects -> blocks. Text directly; JSON by `json_blocks`, Parquet by `parquet_objects`,
   CSV of the console by `console_csv`.
"""
