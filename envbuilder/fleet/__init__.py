"""Many recipes at once: one graph of tasks, on this machine's cores or on a cluster's workers."""
