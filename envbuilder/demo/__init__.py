"""``envbuilder quickstart``: run the whole pipeline on the sample model.

In: nothing but this machine. Out: a response of a real server. Knows every stage, and no recipe of the user's.
"""
