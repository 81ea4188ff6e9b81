"""The base of an environment, into which wheels go: an interpreter, and conda packages if there are any.

In: a locked interpreter or locked conda packages. Out: a :class:`~envbuilder.base.provider.Provider` with its files,
relocated. Knows nothing of wheels, archives to be written, or the recipe's other parts.
"""
