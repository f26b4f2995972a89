"""Other machines and processes that do the same jobs: Dask, or any executor.

1. `environment`: driver and workers must have the same releases
2. `workers`: what a worker does: opens what a run needs, once, and does its jobs
3. `engine`: the driver's side: a job goes to a worker, a small result comes back
4. `dask`: a Dask cluster as an engine, and a cluster of this machine

The driver is the process that plans, holds the lake's lock and commits. No data and no credentials
travel between it and the workers.
"""
