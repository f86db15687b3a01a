"""Reads the log of tensorflow_model_server. Pure, and quick: it is read at every new line.

The texts are those of TensorFlow Serving 2.20: core/load_servables_fast.cc,
core/loader_harness.cc, sources/storage_path/file_system_storage_path_source.cc,
servables/tensorflow/saved_model_warmup_util.cc, model_servers/main.cc.
"""

from __future__ import annotations

import dataclasses
import re

# Patterns are never let loose on more than this, for a server may print anything.
_MESSAGE_CHARACTERS = 8000

_START_FAILED = "Failed to start server. Error: "
# A status code is written "NOT_FOUND", and "Not found" by servers before 2.10.
_SERVABLE_ERROR = re.compile(r"due to error: ([A-Z][A-Za-z_ ]*): (.*?)\}, \}", re.DOTALL)
_LOAD_FAILED = re.compile(
    r"Loading servable: \{name: .*? version: \d+\} failed: ([A-Z][A-Za-z_ ]*): (.*)"
)
_LOAD_BEGUN = re.compile(
    r"Loading servable version|Reading SavedModel from|Loading servable: \{name: "
)
_PREFIX = re.compile(r"^[-\d]+ [:.\d]+: [IWEF] \S+\] ")
_USAGE = re.compile(r"^usage: .*", re.MULTILINE)
_BAD_VALUE = re.compile(r"Couldn't interpret value|Couldn't parse|Invalid protobuf file")
_WARM_UP = re.compile(
    r"Number of warmup records read: (\d+)\. Elapsed time \(microseconds\): (\d+)"
)
_NO_WARM_UP = "No warmup data file found at "
_NOTE = re.compile(r"the embedded server ignores --\S.*|^unknown argument: .*", re.MULTILINE)
# Of a build for GPU: tensorflow/core/common_runtime/gpu/gpu_device.cc, xla/stream_executor/cuda.
_NO_GPU = re.compile(
    r"Could not load dynamic library 'lib(?:cu|nv)[^']*'|Cannot dlopen some GPU libraries|"
    r"failed call to cuInit: |Could not find cuda drivers on your machine|"
    r"Loaded runtime CuDNN library: \S+ but source was compiled with"
)
_NO_GPU_LIBRARY = re.compile(r"error while loading shared libraries: lib(?:cu|nv)\S+: .*")
_VERSION = re.compile(r"TensorFlow (ModelServer|Library): (.*)$", re.MULTILINE)


@dataclasses.dataclass(frozen=True)
class LoadError:
    """Why the server gave up starting.

    Attributes:
        code: name of the status code, such as "NOT_FOUND".
        message: the status message; may have several lines.
    """

    code: str
    message: str


def find_load_error(log: str) -> LoadError | None:
    """The last reason that the log gives for not starting, or None."""
    _, found, text = log.rpartition(_START_FAILED)
    text = text[:_MESSAGE_CHARACTERS]
    if found:
        servable = _SERVABLE_ERROR.search(text)
        if servable is not None:
            return LoadError(_code_name(servable[1]), servable[2].strip())
        code, _, message = text.strip().partition("\n")[0].partition(": ")
        return LoadError(_code_name(code), message)
    failures = [
        match.groups()
        for line in log.splitlines()
        if "Loading servable: {name: " in line
        for match in _LOAD_FAILED.finditer(line[:_MESSAGE_CHARACTERS])
    ]
    return LoadError(_code_name(failures[-1][0]), failures[-1][1]) if failures else None


def _code_name(code: str) -> str:
    return code.upper().replace(" ", "_")


def find_bad_flag(log: str) -> str | None:
    """What the log says of a flag that the server cannot use, or None."""
    bad_value = _BAD_VALUE.search(log)
    if bad_value is not None:
        end = log.find("\n", bad_value.start())
        line = log[log.rfind("\n", 0, bad_value.start()) + 1 : end if end >= 0 else None].strip()
        return _PREFIX.sub("", line)
    return "the server printed its usage" if _USAGE.search(log) else None


def find_model_not_found(log: str, model_name: str) -> str | None:
    """The line by which the server says that it waits for this model to appear, or None."""
    missing_base = f" for servable {model_name} with error"
    no_version = f"No versions of servable {model_name} found under base path "
    for line in log.splitlines() if missing_base in log or no_version in log else ():
        for start in ("Could not find base path ", no_version):
            place = line.find(start)
            if place >= 0 and (start == no_version or missing_base in line):
                return line[place:].strip()
    return None


def has_begun_loading(log: str) -> bool:
    """Whether the server has found the model and begun to load it."""
    return _LOAD_BEGUN.search(log) is not None


def says_it_serves(log: str) -> bool:
    """Whether the server says that it answers, which it does when all models are loaded."""
    return "Running gRPC ModelServer at " in log


def find_warm_up(log: str) -> tuple[int, float] | None:
    """How many warm-up records were replayed and in how many seconds, or None."""
    match = _WARM_UP.search(log)
    return (int(match[1]), int(match[2]) / 1e6) if match is not None else None


def ended_warming_up(log: str) -> bool:
    """Whether the server had begun to replay warm-up records and was not done with them."""
    begun = log.rfind("Starting to read warmup data for model at ")
    return begun >= 0 and log.find("Finished reading warmup data for model at ", begun) < 0


def has_no_warm_up(log: str) -> bool:
    """Whether the server found no warm-up records with the model."""
    return _NO_WARM_UP in log


def find_notes(log: str) -> tuple[str, ...]:
    """Lines about flags that have no effect, each once."""
    return tuple(dict.fromkeys(note.strip() for note in _NOTE.findall(log)))


def find_lost_gpu(log: str) -> str | None:
    """The first line by which a server built for GPU says that it does without, or None."""
    match = _NO_GPU.search(log)
    if match is None:
        return None
    line = log[log.rfind("\n", 0, match.start()) + 1 :].partition("\n")[0]
    return _PREFIX.sub("", line.strip())


def find_missing_gpu_library(log: str) -> str | None:
    """What the loader says of a GPU's library without which the server does not start, or None."""
    match = _NO_GPU_LIBRARY.search(log)
    return match[0].strip() if match is not None else None


def says_bad_alloc(log: str) -> bool:
    """Whether the server ended itself because it was given no memory."""
    return "std::bad_alloc" in log or "CUDA_ERROR_OUT_OF_MEMORY" in log


def find_versions(output: str) -> dict[str, str]:
    """What --version prints: {"ModelServer": ..., "Library": ...}."""
    return {match[1]: match[2].strip() for match in _VERSION.finditer(output)}


def last_line(log: str) -> str:
    """The last line that is not blank, or an empty text."""
    return next((line.strip() for line in reversed(log.splitlines()) if line.strip()), "")
