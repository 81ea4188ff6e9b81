"""A lock as a document: its model, its text (PEP 751), its check against a recipe, the comparison of two.

In: text. Out: a :class:`~envbuilder.lockfile.model.Lock`, and back. Knows neither a solver nor a network.
"""
