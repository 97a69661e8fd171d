"""Takes a trained policy out of the project: files for use elsewhere, and `load` for a workdir or such a file."""
