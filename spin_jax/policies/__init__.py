"""Policies: one file and one line in registry.py each."""
