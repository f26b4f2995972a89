"""The command line.

1. `app`: one command each.
2. `arguments`: their options, made from the fields of dataclasses.
3. `tables`: reports on stdout. `log`, `progress`: errors and progress on stderr.
4. `failures`, `signals`, `streams`: whatever happens ends in a sentence and an exit code.
5. `metrics`: what monitoring reads.
"""
