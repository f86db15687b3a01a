"""The rules of TensorFlow Serving's batching session.

tensorflow_serving/batching/batching_session.cc and batching_util.h; parameters:
servables/tensorflow/bundle_factory_util.h; limits: tensorflow/core/kernels/batching_util/
shared_batch_scheduler.h.

Each request is a batch of its own here: it is held to the same rules, padded to an allowed size
and cut apart again, so a model that batching breaks breaks here too. Requests of different
callers are not merged, so nothing waits for ``batch_timeout_micros``.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any

from infra_validator.model_server.capi import Session, Tensor, strings_tensor
from infra_validator.model_server.signatures import Signature
from infra_validator.model_server.status import Code, StatusError, invalid_argument

_STRING = 7
_DEFAULT_MAX_BATCH_SIZE = 1000
_DEFAULT_BATCH_THREADS = 1


def _value(parameters: Any, field: str, default: int) -> int:
    return int(getattr(parameters, field).value) if parameters.HasField(field) else default


def max_batch_size(parameters: Any) -> int:
    """Returns the most rows that one request may bring."""
    return _value(parameters, "max_batch_size", _DEFAULT_MAX_BATCH_SIZE)


def max_execution_batch_size(parameters: Any) -> int:
    """Returns the most rows that run at a time, where larger requests are cut into several."""
    return _value(parameters, "max_execution_batch_size", max_batch_size(parameters))


def check_parameters(parameters: Any) -> None:
    """Refuses BatchingParameters that no scheduler can work with.

    Raises:
        StatusError: INVALID_ARGUMENT.
    """
    allowed = list(parameters.allowed_batch_sizes)
    largest = max_batch_size(parameters)
    if allowed and allowed[-1] != largest:
        raise invalid_argument(
            "Last entry in allowed_batch_sizes must match max_batch_size; last entry was "
            f"{allowed[-1]}; expected {largest}"
        )
    for field, size in (
        ("max_input_batch_size", largest),
        ("max_execution_batch_size", max_execution_batch_size(parameters)),
    ):
        if size < 1:
            raise invalid_argument(f"{field} must be positive; was {size}")
    threads = _value(parameters, "num_batch_threads", _DEFAULT_BATCH_THREADS)
    if threads < 1:
        raise invalid_argument(f"num_batch_threads must be positive; was {threads}")


def round_up(allowed: Sequence[int], size: int) -> int:
    """Returns the smallest allowed batch size that is not below ``size``."""
    return next((candidate for candidate in allowed if candidate >= size), size)


def batch_size(shapes: Sequence[tuple[int, ...]]) -> int:
    """Returns the first dimension that all inputs share.

    Raises:
        StatusError: INVALID_ARGUMENT, where they share none.
    """
    if not shapes:
        raise invalid_argument("Batching Run() must have at least one input tensor")
    for shape in shapes:
        if not shape:
            raise invalid_argument("Batching Run() input tensors must have at least one dimension")
        if shape[0] != shapes[0][0]:
            raise invalid_argument(
                "Batching Run() input tensors must have equal 0th-dimension size"
            )
    return shapes[0][0]


def check_output(shape: tuple[int, ...], rows: int) -> None:
    """Refuses an output that cannot be cut apart by rows.

    Raises:
        StatusError: FAILED_PRECONDITION.
    """
    if not shape:
        raise StatusError(Code.FAILED_PRECONDITION, "Batched output tensor has 0 dimensions")
    if shape[0] != rows:
        raise StatusError(
            Code.FAILED_PRECONDITION,
            "Batched output tensor's 0th dimension does not equal the sum of the 0th dimension "
            "sizes of the input tensors",
        )


class BatchingSession:
    """A session that takes part in batching.

    Args:
        session: runs the batches.
        parameters: BatchingParameters, checked.
        signatures: a run is batched if it feeds and fetches exactly what one of them names.
    """

    def __init__(self, session: Session, parameters: Any, signatures: Iterable[Signature]) -> None:
        self._session = session
        self._library = session.library
        self._allowed = tuple(parameters.allowed_batch_sizes)
        self._max_task = max_batch_size(parameters)
        self._max_batch = self._max_task
        if parameters.enable_large_batch_splitting.value:
            self._max_batch = max_execution_batch_size(parameters)
        self._batched = {
            (frozenset(s.inputs.values()), frozenset(s.outputs.values())) for s in signatures
        }

    def run(
        self, feeds: Sequence[tuple[str, Tensor]], fetches: Sequence[str], timeout_ms: int
    ) -> list[Tensor]:
        """Runs the graph; see :meth:`infra_validator.model_server.capi.Session.run`.

        Raises:
            StatusError: a tensor is not batch-major, or the session failed.
        """
        if (frozenset(name for name, _ in feeds), frozenset(fetches)) not in self._batched:
            return self._session.run(feeds, fetches, timeout_ms)
        size = batch_size([tensor.shape for _, tensor in feeds])
        if size > self._max_task:
            raise invalid_argument(
                f"Task size {size} is larger than maximum input batch size {self._max_task}"
            )
        # The wrapped session runs each endpoint once, everything in sorted order.
        feeds = sorted(feeds, key=lambda feed: feed[0])
        ordered = sorted(set(fetches))
        starts = range(0, size, self._max_batch) or range(1)
        parts = [
            self._run_rows(feeds, ordered, timeout_ms, start, min(start + self._max_batch, size))
            for start in starts
        ]
        results = dict(zip(ordered, map(self._joined, zip(*parts, strict=True)), strict=True))
        return [results[name] for name in fetches]

    def _run_rows(
        self,
        feeds: Sequence[tuple[str, Tensor]],
        fetches: Sequence[str],
        timeout_ms: int,
        start: int,
        stop: int,
    ) -> list[Tensor]:
        """Runs some rows as one batch, padded to an allowed size."""
        size = stop - start
        padding = round_up(self._allowed, size) - size
        batch = [(name, self._rows(tensor, start, stop, padding)) for name, tensor in feeds]
        results = self._session.run(batch, fetches, timeout_ms)
        for result in results:
            check_output(result.shape, size + padding)
        return [self._rows(result, 0, size, 0) for result in results]

    def _rows(self, tensor: Tensor, start: int, stop: int, padding: int) -> Tensor:
        """Returns rows ``start`` to ``stop``, and ``padding`` times the first of them behind."""
        shape = tensor.shape
        if (start, stop, padding) == (0, shape[0], 0):
            return tensor
        new_shape = (stop - start + padding, *shape[1:])
        if tensor.dtype == _STRING:
            width = math.prod(shape[1:])
            values = tensor.strings()[start * width : stop * width]
            return strings_tensor(self._library, new_shape, values + values[:width] * padding)
        width = len(tensor.data()) // shape[0] if shape[0] else 0
        data = bytes(tensor.data()[start * width : stop * width])
        return Tensor.from_bytes(
            self._library, tensor.dtype, new_shape, data + data[:width] * padding
        )

    def _joined(self, parts: Sequence[Tensor]) -> Tensor:
        """Returns the parts of one output, one below the other."""
        first = parts[0]
        if len(parts) == 1:
            return first
        shape = (sum(part.shape[0] for part in parts), *first.shape[1:])
        if first.dtype == _STRING:
            values = [value for part in parts for value in part.strings()]
            return strings_tensor(self._library, shape, values)
        data = b"".join(part.data() for part in parts)
        return Tensor.from_bytes(self._library, first.dtype, shape, data)
