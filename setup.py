"""Packaging of spin_jax; lint and test settings are in pyproject.toml."""

import pathlib
import re

from setuptools import find_packages, setup

ROOT = pathlib.Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+)"', (ROOT / "spin_jax" / "__init__.py").read_text()).group(1)

setup(
    name="spin_jax",
    version=VERSION,
    description="SPIN (arXiv 2601.04441) in JAX: offline RL for combinations of discrete choices",
    long_description=(ROOT / "README.md").read_text(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(include=["spin_jax", "spin_jax.*"]),
    package_data={"spin_jax": ["py.typed"], "spin_jax.collect": ["weights/*.npz", "weights/*.json"]},
    install_requires=[
        "absl-py>=2.1",
        "array_record>=0.8",
        "chex>=0.1.90",
        "dm-control>=1.0.41",
        "flax>=0.12",
        "grain>=0.2.15",
        "importlib_resources>=6.4",  # tensorflow_datasets reads it without declaring it
        "jax>=0.9",
        "matplotlib>=3.9",
        "ml-collections>=1.1",
        "mujoco>=3.17,<4",  # dm_control 1.0.50 does not load with mujoco 4
        "numpy>=2.0",
        "optax>=0.2.6",
        "orbax-checkpoint>=0.11.32,<1",
        "pillow>=11",
        "pyarrow>=18.1",
        "scipy>=1.13",
        "tensorboardX>=2.6.4",
        "tensorflow-datasets>=4.9.9",
        "threadpoolctl>=3.5",
        "tqdm>=4.67",
    ],
    extras_require={
        "test": ["mypy>=2.4", "pytest>=8.4", "pytest-cov>=7.0", "pytest-xdist>=3.8", "ruff>=0.14"],
        "docs": ["furo>=2025.12.19", "myst-parser>=5.1", "sphinx>=9.0", "sphinx-copybutton>=0.5.2"],
        "onnx": ["onnx>=1.17", "onnxruntime>=1.20"],
        "cuda": ["jax[cuda13]"],
        "tpu": ["jax[tpu]"],
    },
)
