"""What SOURCE and DEST stand on: folders and S3 buckets, used in one way.

1. `opening`: a path or URL -> a `Storage`.
2. `interface`: what every storage can do.
3. `local`, `s3`: the two that there are. `names` turns
   names into text, `retrying` repeats requests.
"""
