"""Tests of envbuilder.fetch."""
