"""Many recipes at once: one graph of tasks, on this machine's cores or on a cluster's workers.

In: recipes with their locks. Out: an outcome for each. Knows how stages are put together, and nothing inside them.
"""
