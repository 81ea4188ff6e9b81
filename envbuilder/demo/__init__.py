"""``envbuilder quickstart``: all of it once, on what comes with the tool.

In: nothing but this machine. Out: an answer of a real server. Knows every stage, and no recipe of the user's.
"""
