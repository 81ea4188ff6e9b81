"""What runs inside a packed environment, by its own interpreter: the probe, the compiler, the stand-in for Triton.

In: a job as JSON. Out: an answer as JSON. Python 3.8, nothing but the environment's packages; imports nothing of the
rest of envbuilder.
"""
