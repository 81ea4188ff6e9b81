"""Models compiled ahead of time, inside their environment, under their release's contract.

In: a model directory and an environment. Out: a compiled package beside the model, or a complete configuration.
"""
