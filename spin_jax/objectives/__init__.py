"""Losses: pure functions of arrays, each citing its equation."""
