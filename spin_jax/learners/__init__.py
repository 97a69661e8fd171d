"""Learners: triples of pure functions (init, update, act), one file and one line in registry.py each."""
