"""Locked, reproducible, verified Python environments for PyTorch models behind Triton's Python backend.

The verbs of the command line are functions in :mod:`envbuilder.api`: ``verbs.lock``, ``verbs.build``, … They
cannot be names of this package, whose stages are packages of the same names.
"""

__version__ = "0.1.0"
