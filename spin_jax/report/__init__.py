"""The results of a run, for people: a table, curves and a video."""
