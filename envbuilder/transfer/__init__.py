"""Stores and model repositories elsewhere: on an object store, or on another machine's disk."""
