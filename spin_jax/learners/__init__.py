"""Learners: pure functions (init, update, act); each learner has one file here and one line in registry.py."""
