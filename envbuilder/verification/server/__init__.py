"""A real tritonserver: found or fetched, started on loopback, queried, stopped, and cleaned up after.

In: a model repository. Out: checks. Knows nothing of how an archive is made.
"""
