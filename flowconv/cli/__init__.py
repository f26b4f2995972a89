"""The command line.

1. `app`: one command each.
2. `arguments`: their options.
3. `tables`, `progress`: what people see. `metrics`: what monitoring reads.
"""
