"""The environment run as a release's stub would run: a sandbox, the launch, the probe, and what its findings mean.

In: an extracted archive and a model. Out: checks. Knows no tritonserver.
"""
