"""``envbuilder bench``: measure on this machine what a deployment costs.

In: an archive, and model directories. Out: figures, and charts of them. Evaluates nothing.
"""
