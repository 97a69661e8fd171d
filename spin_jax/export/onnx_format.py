"""The format onnx: the forward pass of `numpy_policy` as an ONNX graph, for programs in any language.

Inputs: `observation` [batch, S] float32, as the log has it, and, unless the policy needs none, `noise` [batch, G]
float32. Outputs: `action` [batch, N] int32 and, where they are exact, `probabilities` [batch, N, K]. The metadata
`spin_jax` is the header: its `greedy_noise` in every row plays greedily, and Gumbel(0, 1) numbers sample.
"""

import json
import pathlib
from collections.abc import Callable
from typing import Any, BinaryIO

import numpy as np

from spin_jax.errors import ConfigError, DataError
from spin_jax.export.numpy_format import network_of
from spin_jax.export.numpy_policy import NumpyPolicy, gumbel
from spin_jax.export.onnx_graph import Graph
from spin_jax.export.trained import Trained

INSTALL = "pip install 'spin_jax[onnx]'"


def write_onnx(file: BinaryIO, trained: Trained) -> None:
    """Writes the model; raises ConfigError if onnx is not installed, or as `network_of`."""
    try:
        import onnx
    except ImportError as error:
        raise ConfigError(f"--format=onnx needs the package onnx: {INSTALL}.") from error
    header, arrays = network_of(trained)
    policy, graph = NumpyPolicy(header, arrays), Graph()
    rows = np.resize(trained.rows, (3, trained.interface.num_features)).astype(np.float32)
    observation, numbers = graph.input("observation", rows), trained.greedy_noise.size
    noise: Any = gumbel(0, len(rows), numbers)
    if numbers:
        noise = graph.input("noise", noise)
    outputs = {"action": policy.forward(observation, noise).astype(np.int32)}
    probabilities = policy.exact_probabilities(observation)
    if probabilities is not None:
        outputs["probabilities"] = probabilities
    model = graph.model(outputs, {"spin_jax": json.dumps(header | {"format": "onnx"})})
    onnx.checker.check_model(model)
    onnx.save(model, file)


def read_onnx(path: pathlib.Path) -> tuple[dict, Callable, Callable | None]:
    """(header, act, probabilities) of a model, as `read_jax`; raises DataError if it is none of ours, or ConfigError if
    onnxruntime is not installed.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise ConfigError(f"{path}: an ONNX model needs the package onnxruntime: {INSTALL}.") from error
    try:
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        header = json.loads(session.get_modelmeta().custom_metadata_map["spin_jax"])
    except Exception as error:  # onnxruntime's own errors have no common base
        raise DataError(f"{path} is no export of a policy ({str(error).splitlines()[0]}).") from error
    partly = onnxruntime.RunOptions()
    partly.only_execute_path_to_fetches = True
    names = [value.name for value in session.get_inputs()]

    def call(output: str, *inputs: np.ndarray) -> np.ndarray:
        feed = {name: value for name, value in zip(("observation", "noise"), inputs, strict=False) if name in names}
        return session.run([output], feed, partly)[0]

    def act(observation: np.ndarray, noise: np.ndarray) -> np.ndarray:
        return call("action", observation, noise)

    def probabilities(observation: np.ndarray) -> np.ndarray:
        feed = {name: np.zeros((len(observation), len(header["greedy_noise"])), np.float32) for name in names[1:]}
        return session.run(["probabilities"], {"observation": observation} | feed, partly)[0]

    return header, act, probabilities if header["exact_probabilities"] else None
