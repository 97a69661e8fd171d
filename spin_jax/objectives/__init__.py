"""Losses: pure functions of arrays; their docstrings cite the equations."""
