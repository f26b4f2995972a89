"""Folders and S3 buckets behind one interface; SOURCE and DEST stand on it.

1. `opening`: a path or URL -> a `Storage`; `aws` checks the options.
2. `interface`: what every `Storage` does.
3. `local`: a folder; `local_errors` explains the system's errors.
4. `s3`: a bucket, over `s3_connection`. `s3_requests` makes its requests, and repeats them as
   `retrying` and `s3_errors` say; those of botocore have a thread of `s3_threads` each, and
   `aws_descriptions` tells it what S3 is.
5. `http_gets` makes GETs, also of listings, to the addresses of `http_hosts`; `s3_signing` writes
   their requests, and `http_answers` reads the answers.

`names` turns names of files and objects into text, and back.
"""
