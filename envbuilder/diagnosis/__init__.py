"""Diagnose what this machine can lock, build and verify, and what to install if it cannot.

In: this machine. Out: a :class:`~envbuilder.diagnosis.diagnose.Diagnosis`. Changes nothing.
"""
