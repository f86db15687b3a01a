"""The rules of TensorFlow Serving's batching session.

tensorflow_serving/batching/batching_session.cc and batching_util.h; parameters:
servables/tensorflow/bundle_factory_util.h; limits: tensorflow/core/kernels/batching_util/
shared_batch_scheduler.h.

Each request is a batch of its own here: it is held to the same rules, padded to an allowed size
and cut apart again, so a model that batching breaks breaks here too. Requests of different
callers are not merged, so nothing waits for ``batch_timeout_micros``.
"""

import math
import time
from collections.abc import Iterable, Sequence
from typing import Any

from infra_validator.model_server import log, protos
from infra_validator.model_server.capi import Session, Tensor, strings_tensor
from infra_validator.model_server.signatures import Signature
from infra_validator.model_server.status import Code, StatusError, invalid_argument

_STRING = 7
_DEFAULT_MAX_BATCH_SIZE = 1000
_DEFAULT_BATCH_THREADS = 1
_BYPASS_LOG_SECONDS = 120.0
# Their memory holds addresses (resource, variant), so it cannot be copied byte by byte.
_NOT_COPIED = frozenset({20, 21})
# Nothing waits in a queue here, and no two requests meet in a batch.
_IDLE_FIELDS = (
    "batch_timeout_micros",
    "max_enqueued_batches",
    "num_batch_threads",
    "pad_variable_length_inputs",
)


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
    threads = _value(parameters, "num_batch_threads", _DEFAULT_BATCH_THREADS)
    if threads < 1:
        raise invalid_argument(f"num_batch_threads must be positive; was {threads}")
    # The scheduler takes sizes as size_t, so it refuses 0 only; no batch of less would ever fit.
    if largest < 1:
        raise invalid_argument(f"input_batch_size_limit must be positive; was {largest}")
    wait = _value(parameters, "batch_timeout_micros", 0)
    if wait < 0:
        raise invalid_argument(f"batch_timeout_micros must be non-negative; was {wait}")
    split = parameters.enable_large_batch_splitting.value
    # Without splitting, the scheduler takes 0 for 1.
    queued = _value(parameters, "max_enqueued_batches", 1)
    if queued < int(split):
        raise invalid_argument(f"max_enqueued_batches must be positive; was {queued}")
    executed = max_execution_batch_size(parameters)
    if split and largest < executed:
        # The scheduler puts the three values behind the sentence, with nothing between them.
        raise invalid_argument(
            "When enable_large_batch_splitting is true, input_batch_size_limit must be greater "
            f"than or equal to max_execution_batch_size.1{largest}{executed}"
        )
    if split and executed < 1:
        raise invalid_argument(f"max_execution_batch_size must be positive; was {executed}")


def idle_parameters(parameters: Any) -> list[str]:
    """Returns the fields that are set and change nothing here."""
    present = {field.name for field, _ in parameters.ListFields()}
    return [field for field in _IDLE_FIELDS if field in present]


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


def check_copied(dtype: int) -> None:
    """Refuses a dtype whose rows cannot be copied.

    Raises:
        StatusError: UNIMPLEMENTED.
    """
    if dtype in _NOT_COPIED:
        raise StatusError(
            Code.UNIMPLEMENTED,
            f"the embedded server cannot pad or cut a tensor of {protos.DataType.Name(dtype)}",
        )


def remaining_ms(deadline: float) -> int:
    """Returns RunOptions.timeout_in_ms for what is left of a request's time; 0 for no bound.

    Raises:
        StatusError: RESOURCE_EXHAUSTED, where nothing is left.
    """
    if deadline == math.inf:
        return 0
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        raise StatusError(
            Code.RESOURCE_EXHAUSTED, "Run() timeout exceeded while waiting in batching queue"
        )
    return max(int(seconds * 1000), 1)


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
        self._next_bypass_log = -math.inf

    def run(
        self, feeds: Sequence[tuple[str, Tensor]], fetches: Sequence[str], timeout_ms: int
    ) -> list[Tensor]:
        """Runs the graph; see :meth:`infra_validator.model_server.capi.Session.run`.

        Raises:
            StatusError: a tensor is not batch-major, or the session failed.
        """
        signature = frozenset(name for name, _ in feeds), frozenset(fetches)
        if signature not in self._batched:
            self._log_bypass(*signature)
            return self._session.run(feeds, fetches, timeout_ms)
        size = batch_size([tensor.shape for _, tensor in feeds])
        if size > self._max_task:
            raise invalid_argument(
                f"Task size {size} is larger than maximum input batch size {self._max_task}"
            )
        # The wrapped session runs each endpoint once, everything in sorted order.
        feeds = sorted(feeds, key=lambda feed: feed[0])
        ordered = sorted(set(fetches))
        deadline = time.monotonic() + timeout_ms / 1000 if timeout_ms else math.inf
        starts = range(0, size, self._max_batch) or range(1)
        parts = [
            self._run_rows(feeds, ordered, deadline, start, min(start + self._max_batch, size))
            for start in starts
        ]
        results = dict(zip(ordered, map(self._joined, zip(*parts, strict=True)), strict=True))
        return [results[name] for name in fetches]

    def _log_bypass(self, feeds: frozenset[str], fetches: frozenset[str]) -> None:
        now = time.monotonic()
        if now < self._next_bypass_log:
            return
        self._next_bypass_log = now + _BYPASS_LOG_SECONDS
        log.warning(
            "Request doesn't match any declared signature and no default scheduler creator "
            "specified. Bypassing batcher. Request signature is: "
            f"{{input_tensors: <{', '.join(sorted(feeds))}>, "
            f"output_tensors: <{', '.join(sorted(fetches))}>}}"
        )

    def _run_rows(
        self,
        feeds: Sequence[tuple[str, Tensor]],
        fetches: Sequence[str],
        deadline: float,
        start: int,
        stop: int,
    ) -> list[Tensor]:
        """Runs some rows as one batch, padded to an allowed size."""
        size = stop - start
        # An empty batch has no row to repeat.
        padding = round_up(self._allowed, size) - size if size else 0
        batch = [(name, self._rows(tensor, start, stop, padding)) for name, tensor in feeds]
        results = self._session.run(batch, fetches, remaining_ms(deadline))
        for result in results:
            check_output(result.shape, size + padding)
        return [self._rows(result, 0, size, 0) for result in results]

    def _rows(self, tensor: Tensor, start: int, stop: int, padding: int) -> Tensor:
        """Returns rows ``start`` to ``stop``, and ``padding`` times the first of them behind."""
        shape = tensor.shape
        if (start, stop, padding) == (0, shape[0], 0):
            return tensor
        check_copied(tensor.dtype)
        new_shape = (stop - start + padding, *shape[1:])
        if tensor.dtype == _STRING:
            width = math.prod(shape[1:])
            values = tensor.strings()[start * width : stop * width]
            return strings_tensor(self._library, new_shape, values + values[:width] * padding)
        width = len(tensor.data()) // shape[0]
        data = bytes(tensor.data()[start * width : stop * width])
        return Tensor.from_bytes(
            self._library, tensor.dtype, new_shape, data + data[:width] * padding
        )

    def _joined(self, parts: Sequence[Tensor]) -> Tensor:
        """Returns the parts of one output, one below the other."""
        first = parts[0]
        if len(parts) == 1:
            return first
        check_copied(first.dtype)
        for part in parts:
            if part.shape[1:] != first.shape[1:] or part.dtype != first.dtype:
                raise StatusError(
                    Code.FAILED_PRECONDITION,
                    "the parts of a large batch have outputs of different shapes",
                )
        shape = (sum(part.shape[0] for part in parts), *first.shape[1:])
        if first.dtype == _STRING:
            values = [value for part in parts for value in part.strings()]
            return strings_tensor(self._library, shape, values)
        data = b"".join(part.data() for part in parts)
        return Tensor.from_bytes(self._library, first.dtype, shape, data)
