"""Tests of envbuilder; the folders mirror the package."""
