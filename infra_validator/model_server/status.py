"""Status codes and errors, as TensorFlow, Abseil and gRPC share them."""

import enum

#: TensorFlow Serving cuts longer messages before they go onto the wire
#: (tensorflow_serving/model_servers/grpc_status_util.cc).
MESSAGE_LIMIT_BYTES = 1024
TRUNCATION_MARK = b"...TRUNCATED"
#: Begins the message of a fault of the embedded server itself.
UNEXPECTED = "the embedded server failed"
_UNEXPECTED_CHARACTERS = 200


class Code(enum.IntEnum):
    """Canonical status codes; the numbers are the same in TensorFlow's C API and in gRPC."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


class StatusError(Exception):
    """A status that is not OK.

    Attributes:
        code: what kind of failure it is.
        message: its text as bytes, since TensorFlow's messages quote the user's data and need not
            be UTF-8.
    """

    def __init__(self, code: Code, message: str | bytes) -> None:
        self.code = code
        self.message = (
            message if isinstance(message, bytes) else message.encode(errors="surrogateescape")
        )
        super().__init__(code, self.message)

    def __str__(self) -> str:
        return f"{self.code.name}: {self.message.decode(errors='replace')}"


def invalid_argument(message: str | bytes) -> StatusError:
    """Returns an INVALID_ARGUMENT error, by far the commonest one."""
    return StatusError(Code.INVALID_ARGUMENT, message)


def unexpected(error: BaseException) -> StatusError:
    """Returns an INTERNAL error for an exception that nobody foresaw."""
    text = str(error).partition("\n")[0][:_UNEXPECTED_CHARACTERS]
    return StatusError(Code.INTERNAL, f"{UNEXPECTED}: {type(error).__name__}: {text}")


def wire_message(message: bytes) -> bytes:
    """Returns ``message`` as TensorFlow Serving would send it, cut after 1024 bytes."""
    if len(message) > MESSAGE_LIMIT_BYTES:
        return message[:MESSAGE_LIMIT_BYTES] + TRUNCATION_MARK
    return message
