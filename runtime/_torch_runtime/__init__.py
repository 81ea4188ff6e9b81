"""Serve a PyTorch model behind Triton's Python backend: the modules behind the file beside this folder.

In the order of a model's life: :mod:`parameters` (and :mod:`fields`) read its configuration, :mod:`process` prepares
the process; only then comes torch. :mod:`loaded` is the model on its device, made by :mod:`source`, :mod:`weights`,
:mod:`loading` and :mod:`sharing`. It is compiled by :mod:`dynamo` or served from a :mod:`package`, which
:mod:`packages` finds or makes (:mod:`export`, :mod:`package_key`); :mod:`warmup` decides. :mod:`engine` answers
requests, by :mod:`batching` and :mod:`answers`, and counts in :mod:`metrics`.

The modules import each other only relative to this package, so a model's own files may have the same names. They
are for Python 3.8 and later, torch 2.0 and later. ``errors``, ``fields``, ``parameters`` and ``process`` do not
import torch.
"""
