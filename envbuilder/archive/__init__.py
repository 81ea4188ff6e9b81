"""The archive as a format: entries, segments, manifest, and how they are written, read and extracted.

In: segments. Out: a tar of gzip members, and back. Knows neither where segments come from nor what Triton does.
"""
