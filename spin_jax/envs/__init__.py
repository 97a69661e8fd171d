"""Environments, by name in ENVS (registry.py)."""
