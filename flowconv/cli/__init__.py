"""The command line.

1. `app`: the list of commands; `commands`: those of a package in a module.
2. `arguments`: their options, made from the fields of dataclasses.
3. `tables`: reports on stdout, those of a package in a module. `log`, `progress`: errors
   and progress on stderr.
4. `failures`, `signals`, `streams`: whatever happens ends in a sentence and an exit code.
5. `metrics`: what monitoring reads.
"""
