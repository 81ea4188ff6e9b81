"""From a file that another tool wrote to a recipe, and what became of each of its lines.

In: a file of conda, pip, uv, Poetry, Pipenv, MLflow, BentoML, cog or truss. Out: the text of a recipe, and remarks.
``detect`` tells the formats apart, a module each reads one into the common form (``wanted``),
``convert`` writes the recipe.
Solves nothing, asks no network, runs nothing.
"""
