"""What this machine can lock, build and verify, and what to install where it cannot.

In: this machine. Out: a :class:`~envbuilder.diagnosis.diagnose.Diagnosis`. Changes nothing.
"""
