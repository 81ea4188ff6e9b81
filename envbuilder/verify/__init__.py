"""From an archive to a report: does this Triton release load it, and does it answer right?"""
