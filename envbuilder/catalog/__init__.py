"""Facts about the world outside: Triton's releases, torch's builds, CUDA's drivers.

In: nothing. Out: tables and look-ups. Knows no recipe, no file of the user's, no network.
"""
