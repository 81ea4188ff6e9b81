"""Helpers for every package: text, files, temporary directories, processes, plugins, YAML with line numbers.

In: plain values. Out: plain values. Knows nothing of recipes, locks, archives or Triton, and imports no other
package.
"""
