"""One patch over a fleet: from an advisory to the locks, archives, aliases and models that hold what it names.

In: an advisory, recipes, and model repositories. Out: what became of each recipe, and a journal to go back by. Knows
how stages are put together, and nothing inside them.
"""
