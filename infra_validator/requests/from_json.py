"""Takes requests from a file in the JSON form of TensorFlow Serving's REST API."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from infra_validator.faults import FaultError
from infra_validator.files import FileSystem
from infra_validator.json_text import JsonTextError, load_json
from infra_validator.request_config import Source
from infra_validator.requests import drafts
from infra_validator.requests.drafts import Draft
from infra_validator.requests.json_values import to_array
from infra_validator.requests.mapping import check_fillable
from infra_validator.requests.request_files import invalid, open_requests
from infra_validator.requests.tensors import Array, UnfitError, to_proto
from infra_validator.saved_model.reader import Model, Signature
from infra_validator.text import is_unicode

_FIELD = Source.JSON.value
_DEFAULT_SIGNATURE = "serving_default"
_MAX_BYTES = 256 * 1024 * 1024
_BODIES = ("instances", "inputs", "examples")


class _BodyError(ValueError):
    """Raised for a request that is not one; its text is shown."""


def read_json(
    files: FileSystem, uri: str, model: Model, signatures: Collection[str] | None, limit: int
) -> list[Draft]:
    """Reads requests.

    Args:
        files: where the file lies.
        uri: where it is.
        model: the model to ask, which says of what type its inputs are.
        signatures: those wanted; None for all.
        limit: how many requests at most.

    Raises:
        FaultError: "request_file_invalid", "signature_missing",
            "signature_unsupported", "storage_failed" or "storage_denied".
    """
    with open_requests(files, _FIELD, uri) as file:
        content = file.read(_MAX_BYTES + 1)
    if len(content) > _MAX_BYTES:
        raise invalid(_FIELD, uri, f"the file has more than {_MAX_BYTES // 1024**2} MiB")
    taken: list[Draft] = []
    for place, body in _bodies(uri, content):
        if len(taken) == limit:
            break
        try:
            name = _signature_name(body)
            if signatures is None or name in signatures:
                taken.append(_draft(model.signature(name), body))
        except (_BodyError, UnfitError) as error:
            raise invalid(_FIELD, uri, f"{place}: {error}") from None
        except FaultError as error:
            if error.fault.category == "signature_unsupported":
                raise invalid(_FIELD, uri, f"{place}: {error.fault.summary.rstrip('.')}") from None
            raise
    if not taken:
        wanted = "" if signatures is None else f" to {', '.join(sorted(signatures))}"
        raise invalid(_FIELD, uri, f"the file holds no request{wanted}")
    return taken


def _bodies(uri: str, content: bytes) -> Iterator[tuple[str, Any]]:
    """The requests, each with the place where it stands."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise invalid(_FIELD, uri, f"not a text in UTF-8, at byte {error.start}") from None
    if not text.strip():
        raise invalid(_FIELD, uri, "the file is empty")
    try:
        whole = load_json(text)
    except JsonTextError as error:
        if error.line is None:
            raise invalid(_FIELD, uri, _why_unread(error)) from None
        lines = [line for line in text.split("\n") if line.strip()]
        if len(lines) < 2 or not _is_json(lines[0]):
            raise invalid(_FIELD, uri, f"line {error.line}: {_why_unread(error)}") from None
        yield from _lines(uri, text)
        return
    if isinstance(whole, list):
        for number, body in enumerate(whole, start=1):
            yield f"request {number}", body
    else:
        yield "request 1", whole


def _lines(uri: str, text: str) -> Iterator[tuple[str, Any]]:
    # JSON's texts may hold what else Python takes for the end of a line.
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                yield f"line {number}", load_json(line)
            except JsonTextError as error:
                raise invalid(_FIELD, uri, f"line {number}: {_why_unread(error)}") from None


def _why_unread(error: JsonTextError) -> str:
    return str(error) if error.line is not None else f"not a request: {error}"


def _is_json(line: str) -> bool:
    try:
        load_json(line)
    except JsonTextError as error:
        return error.line is None
    return True


def _signature_name(body: Any) -> str:
    if not isinstance(body, Mapping):
        raise _BodyError("not a request: no JSON object")
    name = body.get("signature_name", _DEFAULT_SIGNATURE)
    if not isinstance(name, str):
        raise _BodyError('"signature_name" is no text')
    unknown = sorted(body.keys() - {"signature_name", "context", *_BODIES})
    if unknown:
        raise _BodyError(f"a request has no {unknown[0]!r}")
    if sum(key in body for key in _BODIES) != 1:
        raise _BodyError('exactly one of "instances", "inputs" and "examples" must be there')
    return name or _DEFAULT_SIGNATURE


def _draft(signature: Signature, body: Mapping[str, Any]) -> Draft:
    if signature.method in {drafts.CLASSIFY, drafts.REGRESS}:
        if "examples" not in body:
            raise _BodyError(f'the signature {signature.name!r} is asked by "examples"')
        return _on_examples(signature, body)
    if signature.method != drafts.PREDICT:
        raise _BodyError(f"the signature {signature.name!r} cannot be asked")
    if "examples" in body:
        raise _BodyError(f'the signature {signature.name!r} is asked by "instances" or "inputs"')
    check_fillable(signature)
    if "inputs" in body:
        columns = _by_name(signature, body["inputs"])
        size = None
    else:
        columns, size = _rows(signature, body["instances"])
    tensors = {}
    for name, value in columns.items():
        spec = signature.inputs[name]
        try:
            array = to_array(value, spec.dtype)
            tensors[name] = to_proto(array, spec.dtype, array.shape)
        except UnfitError as error:
            raise _BodyError(f"the input {name!r} {error}") from None
        _check_shape(name, array, signature)
    if size is None:
        size = _batch_size(signature, tensors)
    return drafts.predict(signature.name, tensors, size)


def _batch_size(signature: Signature, tensors: Mapping[str, Any]) -> int:
    """The rows of the inputs whose first dimension is open, if they agree."""
    firsts = {
        tensor.tensor_shape.dim[0].size
        for name, tensor in tensors.items()
        if signature.inputs[name].shape is None or (signature.inputs[name].shape or (0,))[0] is None
        if tensor.tensor_shape.dim
    }
    return firsts.pop() if len(firsts) == 1 else 1


def _check_shape(name: str, array: Array, signature: Signature) -> None:
    spec = signature.inputs[name]
    if spec.shape is not None and (
        len(spec.shape) != array.ndim
        or any(size not in {None, have} for size, have in zip(spec.shape, array.shape, strict=True))
    ):
        raise _BodyError(f"the input {name!r} is of shape {list(array.shape)}, and takes {spec}")


def _by_name(signature: Signature, value: Any) -> dict[str, Any]:
    """Values by input; one alone needs no name."""
    inputs = signature.inputs
    named = isinstance(value, Mapping) and value.keys() != {"b64"}
    if not named:
        if len(inputs) != 1:
            raise _BodyError(
                f"the signature {signature.name!r} has several inputs, so they must be named: "
                f"{', '.join(sorted(inputs))}"
            )
        return dict.fromkeys(inputs, value)
    missing = sorted(inputs.keys() - value.keys() - signature.defaults)
    unknown = sorted(value.keys() - inputs.keys())
    if missing or unknown:
        problem = f"has no {missing[0]!r}" if missing else f"has {unknown[0]!r}, which is no input"
        raise _BodyError(
            f"it {problem}; the signature {signature.name!r} takes {', '.join(sorted(inputs))}"
        )
    return dict(value)


def _rows(signature: Signature, instances: Any) -> tuple[dict[str, Any], int]:
    if not isinstance(instances, list) or not instances:
        raise _BodyError('"instances" must be a list of at least one')
    columns: dict[str, list[Any]] = {name: [] for name in signature.inputs}
    for number, instance in enumerate(instances, start=1):
        try:
            for name, value in _by_name(signature, instance).items():
                columns[name].append(value)
        except _BodyError as error:
            raise _BodyError(f"instance {number}: {error}") from None
    given = {name: values for name, values in columns.items() if values}
    if any(len(values) != len(instances) for values in given.values()):
        raise _BodyError("an input that may be left out is in some instances only")
    return dict(given), len(instances)


def _on_examples(signature: Signature, body: Mapping[str, Any]) -> Draft:
    from tensorflow.core.example import example_pb2

    listed, context = body["examples"], body.get("context", {})
    if not isinstance(listed, list) or not listed or not isinstance(context, Mapping):
        raise _BodyError('"examples" must be a list of at least one, "context" an object')
    made = []
    for number, given in enumerate(listed, start=1):
        if not isinstance(given, Mapping):
            raise _BodyError(f"example {number} is no object")
        example = example_pb2.Example()
        for name, value in {**context, **given}.items():
            if not is_unicode(name):
                raise _BodyError(f"example {number}: {name!r} is no name of a feature")
            try:
                _fill(example.features.feature[name], value)
            except UnfitError as error:
                raise _BodyError(f"example {number}: the feature {name!r} {error}") from None
        made.append(example)
    return drafts.on_examples(signature, made)


def _fill(feature: Any, value: Any) -> None:
    """As TensorFlow Serving does: whole numbers are int64, numbers with a point floats."""
    values = value if isinstance(value, list) else [value]
    if any(isinstance(item, list) for item in values):
        raise UnfitError("holds lists in a list")
    if all(isinstance(item, (str, Mapping)) for item in values):
        feature.bytes_list.value.extend(to_array(values, "DT_STRING").tolist())
    elif all(isinstance(item, int) for item in values):
        feature.int64_list.value.extend(to_array([int(v) for v in values], "DT_INT64").tolist())
    else:
        feature.float_list.value.extend(to_array(values, "DT_FLOAT").tolist())
