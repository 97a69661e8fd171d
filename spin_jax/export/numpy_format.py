"""Writes a trained policy for `numpy_policy`: a forward pass of each registered policy has its own arrays."""

from collections.abc import Callable
from typing import Any, BinaryIO

import jax
import numpy as np

from spin_jax.errors import ConfigError
from spin_jax.export.archive import write_archive
from spin_jax.export.trained import Trained
from spin_jax.learners.base import CriticLearnerConfig
from spin_jax.learners.bcq import BCQConfig
from spin_jax.models.asm import ASMConfig, sinusoidal
from spin_jax.models.unmasking import round_sizes
from spin_jax.policies.base import SUPPORT_CANDIDATES
from spin_jax.record.checkpoint import flatten

ENCODER = ("encoder_in", "encoder_out")


def write_numpy(file: BinaryIO, trained: Trained) -> None:
    """Writes the archive; raises ConfigError as `network_of`."""
    header, arrays = network_of(trained)
    write_archive(file, header | {"format": "numpy"}, {name: np.asarray(x) for name, x in flatten(arrays).items()})


def network_of(trained: Trained) -> tuple[dict, dict]:
    """(header, arrays) for `numpy_policy.NumpyPolicy`.

    Raises ConfigError for a policy that `numpy_policy` has no forward pass of.
    """
    run, state = trained.run, trained.state
    if run.policy not in NETWORKS:
        raise ConfigError(f"The formats numpy and onnx do not know policy {run.policy}: use --format=jax.")
    network, arrays = NETWORKS[run.policy](state.policy, trained.frozen, trained)
    network = {"candidates": None, "select": "argmax", "threshold": None, "q_scale": 1.0} | network
    if isinstance(run.learner_config, BCQConfig):
        if network["candidates"] is None:
            network["threshold"] = run.learner_config.threshold
        else:  # the best of what the policy draws
            count = SUPPORT_CANDIDATES if network["kind"] == "autoregressive" else network["candidates"]
            network |= {"candidates": count, "select": "argmax"}
    asks_critics = network["threshold"] is not None or (network["candidates"] or 1) > 1
    if asks_critics and isinstance(run.learner_config, CriticLearnerConfig):
        arrays["critics"] = state.critics
        network["q_scale"] = 1 / trained.interface.spec.num_slots if run.learner_config.q == "mean" else 1.0
    return trained.header | {"network": network}, jax.tree.map(np.asarray, arrays)


def _spin(params: Any, frozen: Any, trained: Trained) -> tuple[dict, dict]:
    return _transformer(frozen | params.get("asm", {}) | params.get("encoder", {}), params["queries"], params, trained)


def _saint(params: Any, frozen: Any, trained: Trained) -> tuple[dict, dict]:
    return _transformer(params["asm"], params["queries"], params, trained)


def _cached(params: Any, frozen: Any, trained: Trained) -> tuple[dict, dict]:
    return _transformer(frozen, frozen["table"][:, -1], {"heads": params}, trained)


def _transformer(asm: Any, queries: Any, params: Any, trained: Trained) -> tuple[dict, dict]:
    tokens = np.asarray(queries) + _positions(asm, trained)
    return {"kind": "transformer"}, _body(asm) | {"tokens": tokens, "heads": params["heads"]}


def _decode(params: Any, frozen: Any, trained: Trained) -> tuple[dict, dict]:
    config = trained.run.policy_config
    sizes = round_sizes(trained.interface.spec.num_slots, config.rounds).tolist()
    chosen = {name: getattr(config, name) for name in ("candidates", "threshold", "select", "beta")}
    network = {"kind": "unmasking", "round_sizes": sizes} | chosen
    table = np.asarray(frozen["table"]) + _positions(frozen, trained)[:, None]
    return network, _body(frozen) | {"table": table, "heads": frozen["heads"]}


def _body(asm: Any) -> dict:
    return {"body": asm["body"], **{name: asm[name] for name in ENCODER if name in asm}}


def _positions(asm: Any, trained: Trained) -> np.ndarray:
    """What is added to the tokens of the slots, [N, D]."""
    config: ASMConfig = trained.run.asm.model
    shape = trained.interface.spec.num_slots, config.body.width
    if config.positions == "learned":
        return np.asarray(asm["positions"])
    return sinusoidal(*shape) if config.positions == "sinusoidal" else np.zeros(shape, np.float32)


def _distill(params: Any, frozen: Any, trained: Trained) -> tuple[dict, dict]:
    return {"kind": "student"}, params


def _factored(params: Any, frozen: Any, trained: Trained) -> tuple[dict, dict]:
    return {"kind": "mlp"}, {"mlp": params}


def _autoregressive(params: Any, frozen: Any, trained: Trained) -> tuple[dict, dict]:
    return {"kind": "autoregressive", "candidates": 1}, dict(params)


NETWORKS: dict[str, Callable[..., tuple[dict, dict]]] = {  # (params, frozen, trained) -> (settings, arrays)
    "spin": _spin,
    "spin_warm": _spin,
    "spin_distill": _distill,
    "spin_cached": _cached,
    "spin_decode": _decode,
    "saint": _saint,
    "factored": _factored,
    "autoregressive": _autoregressive,
}
