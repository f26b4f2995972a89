"""generate(): sample logs under the keys that AWS gives them.

1. `options`: how much, and which.
2. `flow_logs`, `networks`: who logs, and who talks.
3. `sample_records`: lines of text.
4. `delivering`: objects in every shape.
5. `generating`: objects -> files.
"""
