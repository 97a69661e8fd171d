"""Policies: each has one file here and one line in registry.py."""
