"""spin_jax: SPIN (arXiv 2601.04441) in JAX, offline RL for combinations of discrete choices."""

__version__ = "0.1.0"
