"""Plays a policy that `python -m spin_jax.export --format=numpy` wrote, with numpy alone.

This file imports nothing of spin_jax: copied beside the archive, it is all that a program without JAX needs:

    policy = load("policy.npz")
    actions = policy.act(observations)  # [B, S] or [S], as the log has them -> [B, N] or [N], the index of each choice

Shapes: B batch, S features, N slots, K choices of the largest slot, M state tokens, D model width, H heads, G Gumbel
numbers of a state, E critics.
"""

import json
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

DRAWS = 64  # joint actions drawn to estimate probabilities that have no closed form
CHUNK = 2048  # candidates that are evaluated at once, as each is a pass through a Transformer


def load(path: Any) -> "NumpyPolicy":
    """The policy in an archive; raises ValueError if the file is none of these."""
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    header = json.loads(str(arrays.pop("header", "{}")))
    if header.get("format") != "numpy" or header.get("version") != 2:
        raise ValueError(f"{path} is no numpy export of spin_jax that this version reads.")
    tree: dict = {}
    for name, array in arrays.items():
        *folders, leaf = name.split("/")
        place = tree
        for folder in folders:
            place = place.setdefault(folder, {})
        place[leaf] = array
    return NumpyPolicy(header, tree)


def gumbel(seed: int | np.random.Generator | None, rows: int, numbers: int) -> np.ndarray:
    """Gumbel noise [rows, numbers], float32; None draws other numbers in every call."""
    uniform = np.random.default_rng(seed).random((rows, numbers))
    return np.asarray(-np.log(-np.log(np.maximum(uniform, np.finfo(float).tiny))), np.float32)


def estimate(play: Callable, observation: np.ndarray, numbers: int, cardinalities: Sequence[int]) -> np.ndarray:
    """[B, N, K]: with which share of DRAWS draws `play` takes each choice; every call has the same draws."""
    draws = gumbel(0, DRAWS, numbers) if numbers else np.zeros((1, 0), np.float32)  # without noise, all draws are equal
    choices: Any = np.arange(max(cardinalities))
    shares: Any = 0
    for draw in draws:
        shares = shares + (play(observation, np.tile(draw, (len(observation), 1)))[..., None] == choices)
    return (shares / len(draws)).astype(np.float32)


class NumpyPolicy:
    """A trained policy; `header` has its names: header["spaces"]["features"], ["slots"] and ["choices"]."""

    def __init__(self, header: dict, arrays: dict):
        self.header, self._arrays, self._net = header, arrays, header["network"]
        self.cardinalities = [len(names) for names in header["spaces"]["choices"]]
        self._valid = np.arange(max(self.cardinalities)) < np.array(self.cardinalities)[:, None]
        self._greedy = np.array(header["greedy_noise"], np.float32)
        clip = header["normaliser"]["clip"]
        self._mean, self._std = (np.array(header["normaliser"][name], np.float32) for name in ("mean", "std"))
        self._clip = np.float32(np.inf if clip is None else clip)

    def act(self, observation: Any, greedy: bool = True, seed: int | np.random.Generator | None = None) -> np.ndarray:
        """The choice of each slot, [B, N] or [N] int32, for raw observations [B, S] or [S].

        greedy=False samples: with an integer seed, equal calls give equal actions.
        """
        rows = self._rows(observation)
        noise = gumbel(seed, len(rows), self._greedy.size)
        actions = self.play(rows, np.tile(self._greedy, (len(rows), 1)) if greedy else noise)
        return actions[0] if np.ndim(observation) == 1 else actions

    def probabilities(self, observation: Any) -> np.ndarray:
        """With which probability act(greedy=False) takes each choice of each slot, [B, N, K] or [N, K].

        Exact if slots are independent of each other; otherwise the share among DRAWS draws.
        """
        rows = self._rows(observation)
        found = self.exact_probabilities(rows)
        if found is None:
            found = estimate(self.play, rows, self._greedy.size, self.cardinalities)
        return found[0] if np.ndim(observation) == 1 else found

    def _rows(self, observation: Any) -> np.ndarray:
        rows = np.atleast_2d(np.asarray(observation, np.float32))
        if rows.ndim != 2 or rows.shape[1] != self._mean.size or not np.isfinite(rows).all():
            raise ValueError(f"Observations must be finite numbers [B, {self._mean.size}], got shape {rows.shape}.")
        return rows

    def _scaled(self, rows: np.ndarray) -> np.ndarray:
        return ((rows - self._mean) / self._std).clip(-self._clip, self._clip)

    def exact_probabilities(self, rows: Any) -> Any:
        """[B, N, K] for observations [B, S]; None if the exact ones are not known."""
        if not self.header["exact_probabilities"]:
            return None
        logits = np.where(self._valid, self._logits(self._scaled(rows)), -np.inf)
        shares = np.exp(logits - logits.max(-1, keepdims=True))
        return shares / shares.sum(-1, keepdims=True)

    def play(self, rows: np.ndarray, noise: np.ndarray) -> np.ndarray:
        """Actions [B, N] int32 for observations [B, S] and Gumbel noise [B, G]."""
        step = max(1, CHUNK // (self._net["candidates"] or 1))
        starts = range(0, max(len(rows), 1), step)
        return np.concatenate([self.forward(rows[i : i + step], noise[i : i + step]) for i in starts]).astype(np.int32)

    def forward(self, rows: Any, noise: Any) -> Any:
        """`play` for all rows at once; the format onnx records it, so the batch is -1 wherever a shape is named."""
        return (self._independent if self._net["candidates"] is None else self._best)(self._scaled(rows), noise)

    def _independent(self, x: np.ndarray, noise: np.ndarray) -> np.ndarray:
        """Every slot by itself: a sample or, for BCQ, the best choice by the critics among those that are allowed."""
        logits = np.where(self._valid, self._logits(x), -np.inf)
        if self._net["threshold"] is None:
            return (logits + noise.reshape(-1, *self._valid.shape)).argmax(-1)
        return np.where(self._allowed(logits), self._utilities(x).min(0), -np.inf).argmax(-1)

    def _allowed(self, logits: np.ndarray) -> np.ndarray:
        """[B, N, K]: the choices that are at least `threshold` times as probable as their slot's best one."""
        least = np.log(np.float32(self._net["threshold"])) if self._net["threshold"] else -np.inf
        return (logits >= logits.max(-1, keepdims=True) + least) & self._valid

    def _best(self, x: np.ndarray, noise: np.ndarray) -> np.ndarray:
        """The best by the critics of n drawn joint actions, or the only one."""
        n, (num_slots, num_choices) = self._net["candidates"], self._valid.shape
        to_select = n if self._net["select"] == "softmax" else 0
        per_draw = (self._greedy.size - to_select) // n
        repeated = (x[:, None] + np.zeros((n, 1), np.float32)).reshape(-1, self._mean.size)
        draw = self._decode if self._net["kind"] == "autoregressive" else self._unmask
        drawn = draw(repeated, noise[:, : n * per_draw].reshape(-1, per_draw // self._valid.size, *self._valid.shape))
        if n == 1:
            return drawn
        drawn = drawn.reshape(-1, n, num_slots)
        taken = drawn[..., None] == np.arange(num_choices)  # [B, n, N, K]
        score = np.where(taken, self._utilities(x)[:, :, None], 0).sum((-2, -1)).min(0)  # [B, n]
        if to_select:
            score = np.float32(self._net["beta"]) * score + noise[:, n * per_draw :]
        chosen = score.argmax(-1)[:, None] == np.arange(n)
        return np.where(chosen[..., None], drawn, 0).sum(1)

    def _utilities(self, x: np.ndarray) -> np.ndarray:
        """[E, B, N, K] of the critics, 0 if there are none."""
        critics = self._arrays.get("critics", {}).values()
        found = [_layers(critic, x, _relu).reshape(-1, *self._valid.shape) for critic in critics]
        scale = np.float32(self._net["q_scale"])
        return np.stack(found) * scale if found else np.zeros((1, 1, *self._valid.shape), np.float32)

    def _logits(self, x: np.ndarray) -> np.ndarray:
        """[B, N, K] of a policy with independent slots."""
        kind, arrays = self._net["kind"], self._arrays
        if kind == "mlp":
            return _layers(arrays["mlp"], x, _relu).reshape(-1, *self._valid.shape)
        if kind == "student":
            z = _layers(arrays["student"], x, _gelu)
            return _heads(arrays["heads"], z.reshape(-1, len(self._valid), z.shape[-1] // len(self._valid)))
        return self._transformer(x, arrays["tokens"] + _zero(x)[..., None])

    def _transformer(self, x: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        """Logits [B, N, K] of slots with the tokens [B, N, D]."""
        arrays, h = self._arrays, tokens
        if "encoder_in" in arrays:
            state = _dense(arrays["encoder_out"], _gelu(_dense(arrays["encoder_in"], x)))
            width = tokens.shape[-1]
            h = np.concatenate([state.reshape(-1, state.shape[-1] // width, width), tokens], axis=1)  # [B, M + N, D]
        for i in range(len(arrays["body"])):
            block = arrays["body"][f"block_{i}"]
            h = h + _attention(block, h)
            h = h + _dense(block["ffn_out"], _gelu(_dense(block["ffn_in"], _norm(block["ffn_norm"], h))))
        return _heads(arrays["heads"], h[:, -len(self._valid) :])

    def _unmask(self, x: np.ndarray, noise: np.ndarray) -> np.ndarray:
        """Joint actions [B, N] by iterative unmasking; noise [B, rounds, N, K]."""
        (num_slots, masked), slots = self._valid.shape, np.arange(len(self._valid))
        table = self._arrays["table"].reshape(num_slots * (masked + 1), -1)
        choices = np.full(num_slots, masked) + _zero(x).astype(np.int64)
        for i, size in enumerate(self._net["round_sizes"]):
            logits = self._transformer(x, _pick(table, choices + slots * (masked + 1)))
            logits = np.where(self._valid, logits, -np.inf)
            # the `size` masked slots with the most probable best choices are chosen; of equal ones the first
            is_best = logits.argmax(-1)[..., None] == np.arange(masked)
            doubt = np.where(is_best, 0, np.exp(logits - logits.max(-1, keepdims=True))).sum(-1)
            hidden = choices == masked
            doubt = np.where(hidden, doubt, np.inf)
            mine, others = doubt[:, :, None], doubt[:, None]
            ahead = (others < mine) | ((others == mine) & (slots < slots[:, None]))
            drawn = (np.where(self._allowed(logits), logits, -np.inf) + noise[:, i]).argmax(-1)
            choices = np.where(hidden & (ahead.sum(-1) < size), drawn, choices)
        return choices

    def _decode(self, x: np.ndarray, noise: np.ndarray) -> np.ndarray:
        """Joint actions [B, N] of the autoregressive policy, slot by slot; noise [B, 1, N, K]."""
        arrays, (num_slots, start) = self._arrays, self._valid.shape
        layers = [arrays["lstm"][f"layer_{i}"] for i in range(len(arrays["lstm"]))]
        state = _relu(_dense(arrays["state"], x))
        carries = [(_zero(x) + np.zeros(len(layer["kernel_hidden"]), np.float32),) * 2 for layer in layers]
        choices = [_zero(x)[:, 0].astype(np.int64) + start]
        for i in range(num_slots):
            h = np.concatenate([state, _pick(arrays["choices"], choices[-1])], axis=1)
            for j, layer in enumerate(layers):
                carries[j] = _lstm_step(layer, carries[j], h)
                h = carries[j][0]
            logits = h @ arrays["heads"]["kernel"][i] + arrays["heads"]["bias"][i]
            choices.append((np.where(self._valid[i], logits, -np.inf) + noise[:, 0, i]).argmax(-1))
        return np.stack(choices[1:], axis=1)


def _zero(x: np.ndarray) -> np.ndarray:
    """[B, 1] of zeros: what is added to it gets a batch."""
    return x[:, :1] * np.float32(0)


def _pick(table: np.ndarray, rows: Any) -> Any:
    """table[rows]; the format onnx has its own."""
    return rows.picked_from(table) if hasattr(rows, "picked_from") else table[rows]


def _relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0)


def _erf_table(knots: int = 1024) -> np.ndarray:
    """Coefficients [knots, 4] of cubics that are erf between knots / 256 (Hermite interpolation; error 1e-11)."""
    at = np.arange(knots + 1) / 256
    y = np.array([math.erf(x) for x in at])
    slope = 2 / math.sqrt(math.pi) * np.exp(-(at**2)) / 256
    rise, left, right = np.diff(y), slope[:-1], slope[1:]
    return np.stack([y[:-1], left, 3 * rise - 2 * left - right, left + right - 2 * rise], 1).astype(np.float32)


_ERF = _erf_table()


def _gelu(x: Any) -> np.ndarray:
    """x (1 + erf(x / sqrt(2))) / 2."""
    if hasattr(x, "erf"):  # the format onnx has its own
        return x * (1 + (x / np.float32(math.sqrt(2))).erf()) / 2
    at = np.minimum(np.abs(x) * np.float32(256 / math.sqrt(2)), np.float32(len(_ERF) - 2**-10))
    knot = at.astype(int)
    part, (a, b, c, d) = at - knot, np.moveaxis(_ERF[knot], -1, 0)
    erf = a + part * (b + part * (c + part * d))
    return x * (1 + np.copysign(erf, x)) / 2


def _dense(layer: dict, x: np.ndarray) -> np.ndarray:
    return x @ layer["kernel"] + layer["bias"]


def _layers(network: dict, x: np.ndarray, activation: Callable) -> np.ndarray:
    """Two hidden layers and a linear one."""
    for i in range(2):
        x = activation(_dense(network[f"Dense_{i}"], x))
    return _dense(network["Dense_2"], x)


def _heads(heads: dict, z: np.ndarray) -> np.ndarray:
    """One head for each slot: z [B, N, D] -> logits [B, N, K]."""
    h = _gelu(z.swapaxes(0, 1) @ heads["kernel_in"] + heads["bias_in"][:, None])
    return (h @ heads["kernel_out"] + heads["bias_out"][:, None]).swapaxes(0, 1)


def _norm(affine: dict, x: np.ndarray) -> np.ndarray:
    """LayerNorm."""
    x = x - x.mean(-1, keepdims=True)
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + np.float32(1e-5)) * affine["scale"] + affine["bias"]


def _attention(block: dict, x: np.ndarray) -> np.ndarray:
    """Self-attention of x [B, T, D]; queries, and keys with values, have a LayerNorm each."""
    layers, of_queries, of_keys = block["attention"], _norm(block["attention_norm"], x), _norm(block["kv_norm"], x)
    tokens, width = x.shape[1:]

    def project(name, x):  # [B, H, T, D / H]
        kernel, bias = layers[name]["kernel"], layers[name]["bias"]
        return (x @ kernel.reshape(width, -1) + bias.ravel()).reshape(-1, tokens, *bias.shape).swapaxes(1, 2)

    query, key, value = project("query", of_queries), project("key", of_keys), project("value", of_keys)
    scores = query @ key.swapaxes(2, 3) / np.float32(math.sqrt(query.shape[-1]))
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    mixed = (weights / weights.sum(-1, keepdims=True)) @ value
    kernel, bias = layers["out"]["kernel"].reshape(-1, width), layers["out"]["bias"]
    return mixed.swapaxes(1, 2).reshape(-1, tokens, len(kernel)) @ kernel + bias


def _lstm_step(layer: dict, carry: tuple, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The next (h, c); gates in the order input, forget, candidate, output."""
    h, c = carry
    gates = x @ layer["kernel_in"] + h @ layer["kernel_hidden"] + layer["bias_in"] + layer["bias_hidden"]
    width = len(layer["kernel_hidden"])
    i, f, g, o = (gates[:, k * width : (k + 1) * width] for k in range(4))
    c = _sigmoid(f) * c + _sigmoid(i) * np.tanh(g)
    return _sigmoid(o) * np.tanh(c), c


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return (1 + np.tanh(x / 2)) / 2
