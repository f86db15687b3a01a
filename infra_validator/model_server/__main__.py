"""``python -m infra_validator.model_server``."""

import os
import sys

# ``python -m`` puts the working directory first, where a file may bear any module's name.
try:
    _directory = os.getcwd()  # noqa: PTH109  Here pathlib could be anybody's.
except OSError:
    _directory = ""
if not getattr(sys.flags, "safe_path", False) and sys.path[:1] == [_directory]:
    del sys.path[0]

import signal

# Python turns SIGINT into an exception, and only once TensorFlow's C++ has returned.
signal.signal(signal.SIGINT, signal.SIG_DFL)

from infra_validator.model_server import bare_tensorflow  # noqa: E402


def _fill_closed_streams() -> None:
    """Opens /dev/null for a closed stdin, stdout or stderr.

    Else the next file or socket would take its number, and get what TensorFlow prints.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def _main() -> None:
    _fill_closed_streams()
    try:
        bare_tensorflow.install()
    except ModuleNotFoundError:
        sys.exit("the embedded model server needs TensorFlow: pip install tensorflow")
    # Only now can TensorFlow's protos be imported without TensorFlow.
    from infra_validator.model_server import server

    server.run()


_main()
