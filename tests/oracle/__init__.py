"""The oracle: slow, obvious readers of flow logs, which share no code with flowconv."""
