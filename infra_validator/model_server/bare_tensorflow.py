"""TensorFlow's generated protos and shared libraries without ``import tensorflow``.

TensorFlow's own ``__init__`` takes seconds; its ``*_pb2`` modules need none of it. A module object
named ``tensorflow`` that only carries the package's search path lets them be imported alone. It
must never stand in a process that also wants the real TensorFlow, so only the server's own
``__main__`` installs it.
"""

import importlib.util
import sys
import types
from pathlib import Path


def package_directory() -> Path:
    """Returns the directory of the installed ``tensorflow`` package.

    Raises:
        ModuleNotFoundError: TensorFlow is not installed.
    """
    loaded = sys.modules.get("tensorflow")
    if loaded is not None:
        return Path(next(iter(loaded.__path__)))
    spec = importlib.util.find_spec("tensorflow")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("No module named 'tensorflow'", name="tensorflow")
    return Path(spec.submodule_search_locations[0])


def install() -> None:
    """Puts the bare ``tensorflow`` module into ``sys.modules``.

    Raises:
        ModuleNotFoundError: TensorFlow is not installed.
        RuntimeError: the real TensorFlow is imported in this process already.
    """
    if "tensorflow" in sys.modules:
        raise RuntimeError("tensorflow is imported already; the model server needs its own process")
    bare = types.ModuleType("tensorflow")
    bare.__path__ = [str(package_directory())]
    sys.modules["tensorflow"] = bare
