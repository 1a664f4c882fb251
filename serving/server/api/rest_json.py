"""TensorFlow Serving's JSON: requests to tensors and examples, results to JSON (tensorflow.org/tfx/serving/api_rest).

Row format: {"instances": [value | list | {name: value}, ...]} -> {"predictions": [...]}.
Column format: {"inputs": value | list | {name: value}} -> {"outputs": value | {name: value}}.
Bytes are {"b64": "..."}. Lists must be rectangular: a multivalent column goes in the column format as two tensors, its
values and `<column>_row_lengths`.
"""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import grpc
import numpy as np
from tensorflow.core.example import example_pb2
from tensorflow.python.framework import dtypes
from tensorflow_serving.apis import input_pb2

from hivemill.serving.server.api.errors import ServingError, invalid

ROWS, COLUMNS = "instances", "inputs"
_BYTES_SUFFIX = "_bytes"
_SHOWN = 100
_MAX_DEPTH = 64
_TEXT_BYTES, _NUMBER_BYTES = 64, 16  # that a value takes at least, until its prediction is written

Json = Any


def parse(body: bytes) -> dict[str, Json]:
    """The JSON object of a request, as rapidjson reads it there: a byte order mark and what follows the object are
    ignored, NaN, Inf and Infinity are numbers, the first of equal keys counts, bytes of a text need not be UTF-8.

    Raises ServingError, also for what rapidjson refuses: numbers that no double holds, lone surrogates.
    """
    text = body.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape").lstrip(_JSON_SPACE)
    if not text:
        raise _parse_error("The document is empty")
    if "\\u" in text and any(one[1] for one in _ESCAPE.finditer(text)):
        raise _parse_error("The surrogate pair in string is invalid.")
    try:
        document, _ = _DECODER.raw_decode(_SPECIAL.sub(_standard, text) if _SPECIAL_HINT.search(text) else text)
    except (ValueError, RecursionError) as error:
        raise _parse_error(str(error) or "too deep") from error
    if not isinstance(document, dict):
        raise invalid(f"JSON Value: {_shown(document)} Is not object")
    return document


def _parse_error(what: str) -> ServingError:
    return invalid(f"JSON Parse error: {what}")


def _first_of_equal_keys(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    found = dict(pairs)
    return found if len(found) == len(pairs) else dict(reversed(pairs))


def _real(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise _parse_error("Number too big to be stored in double.")
    return value


def _whole(text: str) -> int | float:
    """An int where rapidjson has one: within int64 or uint64; a double otherwise."""
    if len(text) > _MAX_INTEGER_DIGITS:
        return _real(text)
    value = int(text)
    return value if -(2**63) <= value < 2**64 else _real(text)


def _standard(found: re.Match[str]) -> str:
    """A special number as Python's decoder knows it; texts stay as they are."""
    if found["number"] is None:
        return found[0]
    return "NaN" if "NaN" in found[0] else found["sign"] + "Infinity"


_JSON_SPACE = " \t\r\n"
_MAX_INTEGER_DIGITS = 20
# In a JSON text, a backslash stands within a string only. Group 1: the escape of a surrogate without its other half.
_ESCAPE = re.compile(
    r"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)", re.DOTALL
)
_SPECIAL_HINT = re.compile(r"Inf(?!inity)|-NaN")
_SPECIAL = re.compile(r'"(?:[^"\\]|\\.)*"|(?P<number>(?P<sign>-?)(?:Inf(?:inity)?|NaN))', re.DOTALL)
_DECODER = json.JSONDecoder(object_pairs_hook=_first_of_equal_keys, parse_float=_real, parse_int=_whole)


def signature_name(document: Mapping[str, Json]) -> str:
    name = document.get("signature_name", "")
    if not isinstance(name, str):
        raise invalid(
            f"JSON Value: {_shown(document)} not formatted correctly. 'signature_name' key must be a string value."
        )
    return _readable(name)


def predict_inputs(
    document: Mapping[str, Json], infos: Mapping[str, Any], max_bytes: int
) -> tuple[str, dict[str, np.ndarray]]:
    """(ROWS or COLUMNS, tensors by alias) for a signature with these inputs; each of `max_bytes` at most, counted with
    what its values and their predictions take as Python objects. Raises ServingError."""
    infos = dict(infos)  # a protocol buffer's map cannot be asked for a name that is not UTF-8
    form, values = _values(document, infos)
    made = _stacked if form == ROWS else _tensor
    return form, {name: made(name, value, infos[name], max_bytes) for name, value in values.items()}


def _values(document: Mapping[str, Json], infos: Mapping[str, Any]) -> tuple[str, dict[str, Json]]:
    if ROWS in document and COLUMNS in document:
        raise invalid(
            f"JSON Value: {_shown(document)} Not formatted correctly expecting only one of 'inputs' or 'instances' "
            "keys to exist "
        )
    if ROWS in document:
        return ROWS, _from_rows(document[ROWS], infos)
    if COLUMNS in document:
        return COLUMNS, _from_columns(document[COLUMNS], infos)
    raise invalid("Missing 'inputs' or 'instances' key")


def predict_result(form: str, outputs: Mapping[str, np.ndarray]) -> dict[str, Json]:
    """The answer to a request in the format `form`."""
    if not outputs:
        raise invalid("Cannot convert empty tensor map to JSON")
    values = {name: _listed(name, value) for name, value in outputs.items()}
    if form == COLUMNS:
        return {"outputs": next(iter(values.values())) if len(values) == 1 else values}
    _check_one_row_each(outputs)
    if len(values) == 1:
        return {"predictions": next(iter(values.values()))}
    names = list(values)
    return {"predictions": [dict(zip(names, row, strict=True)) for row in zip(*values.values(), strict=True)]}


def examples(document: Mapping[str, Json], max_bytes: int) -> input_pb2.Input:
    """{"examples": [{feature: value or list}], "context": {…}} of classify and regress; `max_bytes` as above.

    Raises ServingError.
    """
    given = document.get("examples")
    if "examples" not in document:
        raise invalid(
            f"JSON Value: {_shown(document)} When method is classify, key 'examples' is expected and was not found"
        )
    if not isinstance(given, list):
        raise invalid(f"JSON Value: {_shown(document)} Expecting 'examples' value to be an list/array")
    if not given:
        raise invalid(f"JSON Value: {_shown(document)} 'examples' value is an empty array")
    parts = sum(1 + len(one) if isinstance(one, dict) else 1 for one in given)
    if parts * _TEXT_BYTES > max_bytes:
        raise invalid(f"too many examples and features, {parts}, for a request of {max_bytes} bytes")
    made = input_pb2.Input()
    chosen = made.example_list
    if "context" in document:
        chosen = made.example_list_with_context
        _fill_example(chosen.context, document["context"])
    for one in given:
        _fill_example(chosen.examples.add(), one)
    return made


def written(document: Json) -> bytes:
    """As bytes; floats that are no numbers as TensorFlow Serving writes them: NaN, Infinity."""
    return json.dumps(document, ensure_ascii=False, indent=None).encode("utf-8", "replace") + b"\n"


def _check_one_row_each(outputs: Mapping[str, np.ndarray]) -> None:
    rows = None
    for name, value in outputs.items():
        if not value.ndim:
            raise invalid(f"Tensor name: {name} has no shape information ")
        if rows not in (None, len(value)):
            raise invalid(f"Tensor name: {name} has inconsistent batch size: {len(value)} expecting: {rows}")
        rows = len(value)


def _check_signature(infos: Mapping[str, Any]) -> None:
    if not infos:
        raise invalid("Failed to get input map for signature: it has no inputs")


def _from_rows(rows: Json, infos: Mapping[str, Any]) -> dict[str, Json]:
    if not isinstance(rows, list):
        raise invalid(f"JSON Value: {_shown(rows)} Expecting 'instances' to be an list/array")
    if not rows:
        raise invalid(f"JSON Value: {_shown(rows)} No values in 'instances' array")
    _check_signature(infos)
    if not _is_named(rows[0]):
        if len(infos) > 1:
            raise invalid(
                "instances is a plain list, but expecting list of objects as multiple input tensors required as per "
                "tensorinfo_map"
            )
        name = next(iter(infos))
        if any(_is_named(row) for row in rows):
            number = next(number for number, row in enumerate(rows) if _is_named(row))
            raise invalid(f"Expecting value/list but got object at item {number} of input list")
        return {name: rows}
    for number, row in enumerate(rows):
        _check_row(number, row, infos)
    return {name: [row[name] for row in rows] for name in infos}


def _check_row(number: int, row: Json, infos: Mapping[str, Any]) -> None:
    if not _is_named(row):
        raise invalid(f"Expecting object but got list at item {number} of input list")
    for name in row:
        if name not in infos:
            raise invalid(
                f"Failed to process element: {number} key: {name:.{_SHOWN}} of 'instances' list. Error: "
                f"INVALID_ARGUMENT: JSON object: does not have named input: {name:.{_SHOWN}}"
            )
    if len(row) != len(infos):
        raise invalid(
            f"Failed to process element: {number} of 'instances' list. JSON object: {_shown(row)} keys must be "
            f"equal to: {','.join(sorted(infos))}"
        )


def _from_columns(columns: Json, infos: Mapping[str, Any]) -> dict[str, Json]:
    _check_signature(infos)
    if not _is_named(columns):
        if len(infos) > 1:
            raise invalid(
                "inputs is a plain value/list, but expecting an object as multiple input tensors required as per "
                "tensorinfo_map"
            )
        name = next(iter(infos))
        return {name: columns}
    for name in sorted(infos):
        if name not in columns:
            raise invalid(f"Missing named input: {name} in 'inputs' object.")
    return {name: columns[name] for name in infos}


def _tensor(name: str, value: Json, info: Any, max_bytes: int) -> np.ndarray:
    dtype, shape = dtypes.as_dtype(info.dtype), _shape(value)
    _check_count(name, math.prod(shape), dtype, max_bytes)
    flat: list[Any] = []
    _flatten(name, value, shape, 0, dtype, flat)
    return _array(flat, shape, dtype)


def _stacked(name: str, rows: list[Json], info: Any, max_bytes: int) -> np.ndarray:
    """One tensor of the rows, which must all have the shape of the first."""
    dtype, first = dtypes.as_dtype(info.dtype), _shape(rows[0])
    _check_count(name, len(rows) * math.prod(first), dtype, max_bytes)
    flat: list[Any] = []
    for number, row in enumerate(rows):
        shape = _shape(row)
        try:
            _flatten(name, row, shape, 0, dtype, flat)
        except ServingError as error:
            message = f"Failed to process element: {number} of 'instances' list. Error: {error}"
            raise ServingError(error.code, message) from error
        if shape != first:
            is_size = math.prod(shape) != math.prod(first)
            what = (
                f"tensor size: {math.prod(first)} but got: {math.prod(shape)}"
                if is_size
                else (f"shape {_shape_text(first)} but got: {_shape_text(shape)}")
            )
            raise invalid(f"Failed to process element: {number} of 'instances' list. Error: Expecting {what}")
    return _array(flat, [len(rows), *first], dtype)


def _shape_text(shape: list[int]) -> str:
    return f"[{','.join(map(str, shape))}]"


def _check_count(name: str, count: int, dtype: Any, max_bytes: int) -> None:
    if count * (_TEXT_BYTES if dtype == dtypes.string else _NUMBER_BYTES) > max_bytes:
        raise invalid(f"input {name}: too many values, {count}, for a request of {max_bytes} bytes")


def _array(flat: list[Any], shape: list[int], dtype: Any) -> np.ndarray:
    if dtype == dtypes.string:
        array = np.empty(len(flat), object)
        array[:] = flat
        return array.reshape(shape)
    with np.errstate(over="ignore"):  # 1e39 is an infinite float32, as there
        wide = np.array(flat, np.float64 if dtype.is_floating else dtype.as_numpy_dtype)
        return wide.astype(dtype.as_numpy_dtype).reshape(shape)


def _shape(value: Json) -> list[int]:
    """By the first element of each level, as TensorFlow Serving takes it."""
    shape: list[int] = []
    while isinstance(value, list):
        shape.append(len(value))
        if len(shape) > _MAX_DEPTH:
            raise invalid(f"lists are nested more than {_MAX_DEPTH} deep")
        if not value:
            break
        value = value[0]
    return shape


def _flatten(name: str, value: Json, shape: list[int], level: int, dtype: Any, flat: list[Any]) -> None:
    if not isinstance(value, list):
        if level != len(shape):
            raise invalid(
                f"input {name}: JSON Value: {_shown(value)} found at incorrect level: {level + 1} in the JSON DOM. "
                f"Expected at level: {len(shape)}"
            )
        flat.append(_scalar(value, dtype))
        return
    if level >= len(shape):
        raise invalid(f"input {name}: Encountered list at unexpected level: {level} expected < {len(shape)}")
    if len(value) != shape[level]:
        raise invalid(
            f"input {name}: Encountered list at unexpected size: {len(value)} at level: {level} expected size: "
            f"{shape[level]}; lists of different lengths go in the column format, as values and row lengths"
        )
    for one in value:
        _flatten(name, one, shape, level + 1, dtype, flat)


def _scalar(value: Json, dtype: Any) -> Any:
    kind = type(value)
    if dtype == dtypes.string:
        if kind is str:
            return _bytes_of(value)
        if kind is dict:
            if not _is_base64(value):
                raise invalid(f"JSON Value: {_shown(value)} not formatted correctly for base64 data")
            return _decoded(value)
    elif dtype == dtypes.bool:
        if kind is bool:
            return value
    elif dtype in (dtypes.float32, dtypes.float64):
        if kind in (int, float):
            return float(value)
    elif dtype in _INTEGERS:
        if kind is int and dtype.min <= value <= dtype.max:
            return value
    else:
        message = f"Conversion of JSON Value: {_shown(value)} to type: {dtype.name}"
        raise ServingError(grpc.StatusCode.UNIMPLEMENTED, message)
    raise invalid(f"JSON Value: {_shown(value)} Type: {_kind(value)} is not of expected type: {dtype.name}")


_INTEGERS = (
    dtypes.int8, dtypes.int16, dtypes.int32, dtypes.int64, dtypes.uint8, dtypes.uint32, dtypes.uint64,
)  # fmt: skip


def _readable(text: str) -> str:
    """Protocol buffers take names in UTF-8 only."""
    return _bytes_of(text).decode("utf-8", "replace")


def _bytes_of(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _fill_example(example: example_pb2.Example, given: Json) -> None:
    if not isinstance(given, dict):
        raise invalid(f"Example must be JSON object but got JSON {_kind(given)}")
    for name, content in given.items():
        _fill(example.features.feature[_readable(name)], name, content if isinstance(content, list) else [content])


def _fill(feature: Any, name: str, values: Iterable[Json]) -> None:
    for value in values:
        kind, converted = _feature_value(name, value)
        if feature.WhichOneof("kind") not in (None, kind):
            expected = str(feature.WhichOneof("kind")).removesuffix("_list")
            raise invalid(f"Unexpected element type in feature: {name} expecting type: {expected}")
        getattr(feature, kind).value.append(converted)


def _feature_value(name: str, value: Json) -> tuple[str, Any]:
    if isinstance(value, (bool, int)):
        if value >= 2**63:
            raise invalid(f"Feature: {name} has uint64_t element. Only int64_t is supported.")
        if value >= -(2**63):
            return "int64_list", int(value)
        value = float(value)  # as rapidjson reads it
    if isinstance(value, float):
        with np.errstate(over="ignore"):
            return "float_list", float(np.float32(value))
    if isinstance(value, str):
        return "bytes_list", _bytes_of(value)
    if _is_base64(value):
        return "bytes_list", _decoded(value)
    raise invalid(f"Feature: {name} has element with unexpected JSON type: {_kind(value)}")


def _is_named(value: Json) -> bool:
    return isinstance(value, dict) and not _is_base64(value)


def _is_base64(value: Json) -> bool:
    return isinstance(value, dict) and set(value) == {"b64"} and isinstance(value["b64"], str)


def _decoded(value: Json) -> bytes:
    """As absl::Base64Unescape: white space anywhere, padding complete or left out; not the URL-safe alphabet."""
    text = re.sub(r"[ \t\n\v\f\r]+", "", value["b64"])
    body = text.rstrip("=.")
    padding = -len(body) % 4
    if padding == 3 or len(text) - len(body) not in (0, padding):
        raise invalid("Unable to base64 decode")
    try:
        return base64.b64decode(body + "=" * padding, validate=True)
    except ValueError as error:  # binascii.Error is one
        raise invalid("Unable to base64 decode") from error


def _listed(name: str, value: np.ndarray) -> Json:
    convert: Callable[[Any], Json]
    if value.dtype == object:
        convert = _as_b64 if name.endswith(_BYTES_SUFFIX) else _as_text
    elif value.dtype == np.float32:
        convert = _shortest
    elif value.dtype in _WRITTEN:
        return value.tolist()
    else:
        raise invalid(f"Failed to write JSON value for tensor type: {value.dtype}")
    flat = np.empty(value.size, object)
    flat[:] = [convert(one) for one in value.ravel()]
    return flat.reshape(value.shape).tolist()


_WRITTEN = tuple(map(np.dtype, ("f8", "i1", "i2", "i4", "i8", "u1", "u4", "u8", "?")))


def _as_b64(value: bytes) -> dict[str, str]:
    return {"b64": base64.b64encode(value).decode("ascii")}


def _as_text(value: bytes) -> str:
    return value.decode("utf-8", "replace")


def _shortest(value: np.float32) -> float:
    """The double that prints as the float32 does: 0.2, not 0.20000000298."""
    return float(str(value))


def _kind(value: Json) -> str:
    names = {dict: "Object", list: "Array", str: "String", type(None): "Null"}
    if isinstance(value, bool):
        return str(value)
    return names.get(type(value), "Number")


def _shown(value: Json) -> str:
    try:
        text = json.dumps(value, ensure_ascii=True)
    except RecursionError:
        text = "(too deep)"
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
