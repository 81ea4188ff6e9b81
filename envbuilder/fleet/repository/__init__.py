"""A model repository as a whole: what each model's environment is, what it shall be, and the way there.

In: the folder of a repository, and the rules of envbuilder.toml. Out: a plan, and what became of each model; each
model's state. Knows how stages are put together, and nothing inside them.
"""
