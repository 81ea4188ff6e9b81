"""What runs inside a packed environment, in one process: the probe, the compiler, the stand-in for Triton's module.

In: a job as JSON. Out: an answer as JSON. It is copied into place as a package called ``_envbuilder_guest`` and started
as ``python3 -I -X utf8=0 -B _envbuilder_guest/__main__.py JOB.json``. Its modules import each other as parts of their
package and nothing of the rest of envbuilder: a model's own modules may be called as they like. Only the folder
``stub``, with the module that Triton's stub would offer, is on ``sys.path``. Python 3.8, nothing but the environment's
packages.
"""
