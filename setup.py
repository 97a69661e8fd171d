"""Packaging of spin_jax; lint and test settings are in pyproject.toml."""

import pathlib
import re

from setuptools import find_packages, setup

ROOT = pathlib.Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+)"', (ROOT / "spin_jax" / "__init__.py").read_text()).group(1)

# The six tasks need it, a log of one's own does not: nothing else imports it. It is installed all the same, because the
# first command of the README is one of the six tasks, and an extra cannot be on unless it is asked for.
DM_CONTROL = ["dm-control>=1.0.41", "mujoco>=3.17,<4"]  # dm_control 1.0.50 does not load with mujoco 4

setup(
    name="spin_jax",
    version=VERSION,
    description="SPIN (arXiv 2601.04441) in JAX: offline RL for combinations of discrete choices",
    long_description=(ROOT / "README.md").read_text(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=[*find_packages(include=["spin_jax", "spin_jax.*"]), "spin_jax.shipped.configs"],
    package_dir={"spin_jax.shipped.configs": "configs"},  # so that an installed `spin-jax` finds them
    package_data={"spin_jax": ["py.typed"], "spin_jax.collect": ["weights/*.npz", "weights/*.json"]},
    entry_points={"console_scripts": ["spin-jax = spin_jax.run:main_command"]},
    install_requires=[
        *DM_CONTROL,
        "absl-py>=2.1",
        "array_record>=0.8",
        "chex>=0.1.90",
        "filelock>=4.3",
        "flatbuffers>=24.3",  # jax.export writes with it and does not declare it
        "flax>=0.12",
        "grain>=0.2.15",
        "h5py>=3.11",  # Minari data sets
        "importlib_resources>=6.4",  # tensorflow_datasets reads it without declaring it
        "jax>=0.9",
        "matplotlib>=3.9",
        "ml-collections>=1.1",
        "numpy>=2.0",
        "optax>=0.2.6",
        "orbax-checkpoint>=0.11.32,<1",
        "tensorstore",  # Orbax's own; damaged files are found with it before Orbax reads them
        "pillow>=11",
        "pyarrow>=18.1",
        "scipy>=1.13",
        "tensorboardX>=2.6.4",
        "tensorflow-datasets>=4.9.9",
        "threadpoolctl>=3.5",
        "tqdm>=4.67",
    ],
    extras_require={
        "dm-control": DM_CONTROL,
        "test": ["mypy>=2.4", "pandas>=2.2", "pytest>=8.4", "pytest-cov>=7.0", "pytest-xdist>=3.8", "ruff>=0.14"],
        "docs": ["furo>=2025.12.19", "myst-parser>=5.1", "sphinx>=9.0", "sphinx-copybutton>=0.5.2"],
        "traffic": ["eclipse-sumo==1.28.*", "traci==1.28.*"],  # another version may generate another network
        "minari": ["minari[hdf5]>=0.5.3"],
        "onnx": ["onnx>=1.17", "onnxruntime>=1.20"],
        "cuda": ["jax[cuda13]"],
        "tpu": ["jax[tpu]"],
    },
)
