"""One module per alternative; each runs in a process of its own: `-m contenders.NAME TASK.json`."""
