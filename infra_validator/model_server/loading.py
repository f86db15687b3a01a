"""Loading a version: the SavedModel bundle, batching, warm-up, and tries until it works.

tensorflow_serving/core/loader_harness.cc, util/retrier.cc and
servables/tensorflow/saved_model_bundle_factory.cc.
"""

import contextlib
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from infra_validator.model_server import log, protos
from infra_validator.model_server.batching import (
    BatchingSession,
    check_parameters,
    idle_parameters,
)
from infra_validator.model_server.capi import Library, Session
from infra_validator.model_server.config import LoadConfig, ModelConfig
from infra_validator.model_server.model import Model, Runner, read_signatures
from infra_validator.model_server.servables import Servable, Servables
from infra_validator.model_server.status import Code, StatusError, unexpected
from infra_validator.model_server.storage import filesystem_error
from infra_validator.model_server.text_proto import read_text_proto
from infra_validator.model_server.warmup import run_warmup

_SAVED_MODEL_FILES = ("saved_model.pb", "saved_model.pbtxt", "saved_model.cpb")
_PER_MODEL_BATCHING_FILE = "batching_params.pbtxt"


def _check_saved_model(path: str) -> None:
    """Refuses a directory without SavedModel in TensorFlow Serving's words, not TensorFlow's."""
    if not any((Path(path) / name).exists() for name in _SAVED_MODEL_FILES):
        raise StatusError(
            Code.NOT_FOUND,
            "Specified file path does not appear to contain a SavedModel bundle (should have a "
            f"file called `saved_model.pb`)\nSpecified file path: {path}",
        )


@contextlib.contextmanager
def _as_status() -> Iterator[None]:
    """Turns every exception into a status: no fault of a model ends the program by itself."""
    try:
        yield
    except StatusError:
        raise
    except OSError as error:
        raise (filesystem_error(error) if error.filename else unexpected(error)) from error
    except Exception as error:
        raise unexpected(error) from error


@_as_status()
def _load_once(library: Library, path: str, config: LoadConfig) -> Model:
    _check_saved_model(path)
    session, serialized = Session.load(library, config.session_config, path, config.tags)
    try:
        signatures = read_signatures(protos.MetaGraphDef.FromString(serialized))
        runner: Runner = session
        if config.batching is not None:
            parameters = config.batching
            own = Path(path) / _PER_MODEL_BATCHING_FILE
            if config.per_model_batching and own.exists():
                parameters = read_text_proto(str(own), protos.BatchingParameters())
            log.info("Wrapping session to perform batch processing")
            check_parameters(parameters)
            idle = idle_parameters(parameters)
            if idle:
                log.warning(
                    "the embedded server ignores --batching_parameters_file's " + ", ".join(idle)
                )
            runner = BatchingSession(session, parameters, signatures.values())
        model = Model(library, runner, signatures, config.check_method_names)
        if config.warmup_iterations:
            run_warmup(model, path, config.warmup_iterations)
    except BaseException:
        session.close()
        raise
    return model


def _load_with_retries(library: Library, path: str, config: LoadConfig, label: str) -> Model:
    """Tries 1 + ``max_retries`` times, whatever the status, as TensorFlow Serving does."""
    description = f"Loading servable: {label}"
    tries = 0
    while True:
        if tries:
            time.sleep(config.retry_interval_seconds)
            log.info(f"Retrying of {description} retry: {tries}")
        tries += 1
        exhausted = tries == config.max_retries + 1
        try:
            return _load_once(library, path, config)
        except StatusError as error:
            log.error(f"{description} failed: {error}")
            if exhausted:
                raise
        finally:
            # The real server says so after a last try that went well, too.
            if exhausted:
                log.info(
                    f"Retrying of {description} exhausted max_num_retries: {config.max_retries}"
                )


def load_servables(
    library: Library, model: ModelConfig, paths: Mapping[int, str], config: LoadConfig
) -> Servables:
    """Loads every version, the highest first, until one fails before any other is available.

    The real server loads them side by side and starts when the first of them is AVAILABLE or has
    failed for good, so which of the two comes first is a race there.

    Args:
        library: the runtime.
        model: whose versions these are.
        paths: version → directory.
        config: how to load.

    Raises:
        StatusError: UNKNOWN, where a version failed and none was available yet.
    """
    available: dict[int, Servable] = {}
    failed: dict[int, StatusError] = {}
    for version, path in sorted(paths.items(), reverse=True):
        label = f"{{name: {model.name} version: {version}}}"
        log.info(f"Successfully reserved resources to load servable {label}")
        log.info(f"Approving load for servable version {label}")
        log.info(f"Loading servable version {label}")
        try:
            loaded = _load_with_retries(library, path, config, label)
        except StatusError as error:
            if not available:
                raise StatusError(
                    Code.UNKNOWN,
                    f"1 servable(s) did not become available: {{{{{label} due to error: {error}}}, "
                    "}",
                ) from error
            failed[version] = error
        else:
            available[version] = Servable(version, loaded)
            log.info(f"Successfully loaded servable version {label}")
    return Servables(model.name, available, failed, model.labels)
