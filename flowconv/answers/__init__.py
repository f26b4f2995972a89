"""What people ask of a lake.

1. `registries`: what numbers and addresses mean, by IANA and AWS
2. `addresses`: texts -> addresses -> networks that hold them
"""
