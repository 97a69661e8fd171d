"""Records a computation of numpy as an ONNX graph: the code runs on `Recorded` arrays, which note every operation.

numpy hands its functions to arrays that are not its own (NEP 13 and NEP 18), so the recorded code is ordinary numpy. A
`Recorded` array carries the value that an example input gives; shapes and types follow from it. Operations among
constants are computed at once and leave no node. The batch must be -1 wherever the code names a shape.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

OPSET = 18  # of ONNX; November 2022
UFUNCS = {
    np.add: "Add",
    np.subtract: "Sub",
    np.multiply: "Mul",
    np.true_divide: "Div",
    np.matmul: "MatMul",
    np.negative: "Neg",
    np.maximum: "Max",
    np.exp: "Exp",
    np.log: "Log",
    np.sqrt: "Sqrt",
    np.tanh: "Tanh",
    np.equal: "Equal",
    np.less: "Less",
    np.greater: "Greater",
    np.greater_equal: "GreaterOrEqual",
    np.bitwise_and: "And",
    np.bitwise_or: "Or",
}


class Graph:
    """The nodes and constants of a graph that is being recorded; needs the package onnx."""

    def __init__(self) -> None:
        from onnx import helper, numpy_helper

        self._helper, self._numpy_helper = helper, numpy_helper
        self._count = 0
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.inputs: list[Any] = []
        self._known: dict[tuple, str] = {}  # name of each constant, so that equal ones are stored once

    def _name(self) -> str:
        self._count += 1
        return f"v{self._count}"

    def input(self, name: str, example: np.ndarray) -> "Recorded":
        """An input whose first axis is the batch."""
        self.inputs.append(self._value(name, example))
        return Recorded(self, name, example)

    def _value(self, name: str, example: np.ndarray) -> Any:
        kind = self._helper.np_dtype_to_tensor_dtype(example.dtype)
        return self._helper.make_tensor_value_info(name, kind, ["batch", *example.shape[1:]])

    def constant(self, value: np.ndarray) -> str:
        """The name of a constant."""
        key = value.shape, value.dtype.str, value.tobytes()
        if key not in self._known:
            self._known[key] = self._name()
            self.constants.append(self._numpy_helper.from_array(np.ascontiguousarray(value), self._known[key]))
        return self._known[key]

    def node(self, kind: str, operands: Sequence[Any], example: np.ndarray, **attributes: Any) -> "Recorded":
        """Adds a node; operands are Recorded arrays, or constants in the type that the node needs."""
        names = [x.name if isinstance(x, Recorded) else self.constant(np.asarray(x)) for x in operands]
        name = self._name()
        self.nodes.append(self._helper.make_node(kind, names, [name], **attributes))
        return Recorded(self, name, np.asarray(example))

    def model(self, outputs: dict[str, "Recorded"], metadata: dict[str, str]) -> Any:
        """The finished onnx.ModelProto."""
        values = []
        for name, recorded in outputs.items():
            self.nodes.append(self._helper.make_node("Identity", [recorded.name], [name]))
            values.append(self._value(name, recorded.example))
        graph = self._helper.make_graph(self.nodes, "policy", self.inputs, values, self.constants)
        opsets = [self._helper.make_opsetid("", OPSET)]
        model = self._helper.make_model(graph, opset_imports=opsets, ir_version=8, producer_name="spin_jax")
        self._helper.set_model_props(model, metadata)
        return model


class Recorded(NDArrayOperatorsMixin):
    """An array of a graph; `example` [batch, …] is its value for the example input."""

    def __init__(self, graph: Graph, name: str, example: np.ndarray):
        self.graph, self.name, self.example = graph, name, example
        if example.dtype == np.float64:
            raise TypeError("The recorded code computes in float64, and not in float32.")

    @property
    def shape(self) -> tuple[int, ...]:
        return self.example.shape

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *operands: Any, **options: Any) -> Any:
        if method != "__call__" or options or ufunc not in UFUNCS:
            return NotImplemented
        example = ufunc(*map(example_of, operands))
        kind = next(x.example.dtype for x in operands if isinstance(x, Recorded))
        typed = [x if isinstance(x, Recorded) else np.asarray(x, kind) for x in operands]
        return self.graph.node(UFUNCS[ufunc], typed, example)

    def __array_function__(self, function: Callable, types: Any, arguments: Any, options: dict) -> Any:
        if function not in FUNCTIONS:
            return NotImplemented
        record: Callable = FUNCTIONS[function]
        return record(self.graph, *arguments, **options)

    def _reduced(self, kind: str, function: Callable, axis: int | tuple[int, ...], keepdims: bool) -> "Recorded":
        if self.example.dtype == bool:
            return self.astype(np.int64)._reduced(kind, function, axis, keepdims)
        axes = np.atleast_1d(np.array(axis, np.int64))
        example = function(self.example, axis=axis, keepdims=keepdims)
        return self.graph.node(kind, [self, axes], example, keepdims=int(keepdims))

    def sum(self, axis: int | tuple[int, ...], keepdims: bool = False) -> "Recorded":
        return self._reduced("ReduceSum", np.sum, axis, keepdims)

    def mean(self, axis: int, keepdims: bool = False) -> "Recorded":
        return self._reduced("ReduceMean", np.mean, axis, keepdims)

    def max(self, axis: int, keepdims: bool = False) -> "Recorded":
        return self._reduced("ReduceMax", np.max, axis, keepdims)

    def min(self, axis: int, keepdims: bool = False) -> "Recorded":
        return self._reduced("ReduceMin", np.min, axis, keepdims)

    def argmax(self, axis: int) -> "Recorded":
        return self.graph.node("ArgMax", [self], self.example.argmax(axis), axis=axis, keepdims=0)

    def clip(self, low: float, high: float) -> "Recorded":
        bounds = [np.asarray(x, self.example.dtype) for x in (low, high)]
        return self.graph.node("Clip", [self, *bounds], self.example.clip(low, high))

    def erf(self) -> "Recorded":
        """The error function, which numpy does not have."""
        example = np.vectorize(math.erf, otypes=[np.float32])(self.example)
        return self.graph.node("Erf", [self], example)

    def picked_from(self, table: np.ndarray) -> "Recorded":
        """table[self], for which numpy asks the table alone."""
        return self.graph.node("Gather", [table, self], table[self.example])

    def astype(self, kind: Any) -> "Recorded":
        to = self.graph._helper.np_dtype_to_tensor_dtype(np.dtype(kind))
        return self.graph.node("Cast", [self], self.example.astype(kind), to=to)

    def reshape(self, *shape: int) -> "Recorded":
        if shape.count(-1) != 1:
            raise ValueError(f"The batch must be -1 in the shape {shape}.")
        return self.graph.node("Reshape", [self, np.array(shape, np.int64)], self.example.reshape(shape))

    def swapaxes(self, first: int, second: int) -> "Recorded":
        order = list(range(self.example.ndim))
        order[first], order[second] = order[second], order[first]
        return self.graph.node("Transpose", [self], self.example.transpose(order), perm=order)

    def __getitem__(self, index: Any) -> "Recorded":
        """Slices, single numbers and new axes, for every axis but the batch's."""
        index = index if isinstance(index, tuple) else (index,)
        if Ellipsis in index:
            at = index.index(Ellipsis)
            missing = self.example.ndim - sum(x is not None for x in index) + 1
            index = (*index[:at], *[slice(None)] * missing, *index[at + 1 :])
        found, example, axis, dropped, added, place = self, self.example[index], 0, [], [], 0
        for part in index:
            if part is None:
                added.append(place)
                place += 1
                continue
            size = self.example.shape[axis]
            if isinstance(part, slice) and part != slice(None):
                start, stop, _ = part.indices(size)
                found = found._sliced(axis, start, stop)
            elif not isinstance(part, slice):
                found = found._sliced(axis, part % size, part % size + 1)
                dropped.append(axis)
            place += isinstance(part, slice)
            axis += 1
        for kind, axes in (("Squeeze", dropped), ("Unsqueeze", added)):
            if axes:
                values = np.squeeze(found.example, tuple(axes)) if kind == "Squeeze" else example
                found = self.graph.node(kind, [found, np.array(axes, np.int64)], values)
        return found

    def _sliced(self, axis: int, start: int, stop: int) -> "Recorded":
        example = self.example[(slice(None),) * axis + (slice(start, stop),)]
        return self.graph.node("Slice", [self, *(np.array([x], np.int64) for x in (start, stop, axis))], example)


def example_of(x: Any) -> Any:
    """The example of a Recorded array; a constant itself."""
    return x.example if isinstance(x, Recorded) else x


def _where(graph: Graph, condition: Any, yes: Any, no: Any) -> Recorded:
    example = np.where(*map(example_of, (condition, yes, no)))
    branches = [x if isinstance(x, Recorded) else np.asarray(x, example.dtype) for x in (yes, no)]
    return graph.node("Where", [condition, *branches], example)


def _concatenate(graph: Graph, arrays: Sequence[Any], axis: int) -> Recorded:
    return graph.node("Concat", arrays, np.concatenate([*map(example_of, arrays)], axis), axis=axis)


def _stack(graph: Graph, arrays: Sequence[Recorded], axis: int = 0) -> Recorded:
    index = (slice(None),) * axis + (None,)
    return _concatenate(graph, [array[index] for array in arrays], axis)


FUNCTIONS: dict[Callable, Callable] = {np.where: _where, np.concatenate: _concatenate, np.stack: _stack}
