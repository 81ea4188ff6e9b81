"""Where artifacts come from on this machine: envbuilder.toml, pip's and conda's own configuration, the environment.

In: files and variables of this machine. Out: :class:`~envbuilder.config.settings.Settings`, clients for channels.
Knows no lock and no archive.
"""
