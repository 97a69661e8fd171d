"""Recorded numpy code gives in ONNX what it gives in numpy."""

import numpy as np
import pytest

from spin_jax.export.onnx_graph import Graph

pytest.importorskip("onnx", reason="pip install -e '.[onnx]'")
onnxruntime = pytest.importorskip("onnxruntime", reason="pip install -e '.[onnx]'")

CODES = [
    lambda x: x[:, 1, None, 2:] + x[..., 2:] * 2 - x[:, :, -1][:, None],
    lambda x: x[:, :, 0][..., None] @ x[:, None, 0],
    lambda x: np.where(x > 0, x, -np.inf).max(-1, keepdims=True),
    lambda x: (np.maximum(x, 0.5) / 3).clip(-0.2, 0.4).sum((-2, -1)) - x.mean(-1).min(1),
    lambda x: (x >= x[:, :1]).sum(-1) < 2,
    lambda x: (x == x) & (x < 1) | (x > 2),
    lambda x: np.stack([np.exp(x), np.tanh(-x)], axis=1).reshape(-1, 4).swapaxes(0, 1).swapaxes(0, 1),
    lambda x: np.concatenate([x, np.sqrt(x * x)], axis=2).argmax(-1),
    lambda x: (
        np.arange(8, dtype=np.float32).reshape(4, 2)[x.argmax(-1)]
        if isinstance(x, np.ndarray)
        else x.argmax(-1).picked_from(np.arange(8, dtype=np.float32).reshape(4, 2))
    ),
]


@pytest.mark.parametrize("code", CODES, ids=range(len(CODES)))
def test_recorded_code_computes_what_numpy_computes(code):
    """Recorded with a batch of 3 and run with other sizes."""
    rng, graph = np.random.default_rng(0), Graph()
    x = graph.input("x", rng.normal(size=(3, 2, 4)).astype(np.float32))
    model = graph.model({"y": code(x)}, {})
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    for batch in (1, 7):
        value = rng.normal(size=(batch, 2, 4)).astype(np.float32)
        found, expected = session.run(None, {"x": value})[0], code(value)
        assert found.dtype == expected.dtype
        np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_what_cannot_be_recorded_is_refused():
    x = Graph().input("x", np.ones((3, 2), np.float32))
    with pytest.raises(ValueError, match="The batch must be -1"):
        x.reshape(3, 2, 1)
    with pytest.raises(TypeError, match="float64"):
        _ = x * np.ones(2)
    with pytest.raises(TypeError):
        np.cos(x)
    with pytest.raises(TypeError):
        np.sort(x)
