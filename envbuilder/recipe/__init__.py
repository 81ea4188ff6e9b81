"""What a person asks for: a recipe is read, checked and written, or made from the files of another tool.

In: a YAML file. Out: a :class:`~envbuilder.recipe.model.Recipe`. Resolves nothing and asks no network.
"""
