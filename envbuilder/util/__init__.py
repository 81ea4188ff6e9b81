"""What any room may use: text, files, temporary directories, processes, YAML with line numbers.

In and out: plain values. Knows nothing of recipes, locks, archives or Triton, and imports no other room.
"""
