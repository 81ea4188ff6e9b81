"""Environments that another tool made: conda-pack's archives, tars of a prefix or a venv, folders.

In: an archive of any kind, or a folder. Out: what is in it, in the form of a manifest; a recipe's beginnings.
Everything is read from the environment itself: conda-meta, dist-info and egg-info, ELF files. Nothing of it is run.
"""
