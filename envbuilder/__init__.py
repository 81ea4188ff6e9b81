"""Locked, reproducible, verified Python environments for PyTorch models behind Triton's Python backend."""

__version__ = "0.1.0"
