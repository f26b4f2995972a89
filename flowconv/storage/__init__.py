"""Folders and S3 buckets behind one interface; SOURCE and DEST stand on it.

1. `opening`: a path or URL -> a `Storage`; `aws` checks the options.
2. `interface`: what every `Storage` does.
3. `local`: a folder; `local_errors` explains the system's errors.
4. `s3`: a bucket, over `s3_connection`. `s3_requests` makes its requests, each in one of
   `s3_threads`, and repeats them as `retrying` and `s3_errors` say; `aws_descriptions` tells
   botocore what S3 is.

`names` turns names of files and objects into text, and back.
"""
