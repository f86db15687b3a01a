"""Loading a version: the SavedModel bundle, batching, warm-up, and tries until it works.

tensorflow_serving/core/loader_harness.cc, util/retrier.cc and
servables/tensorflow/saved_model_bundle_factory.cc.
"""

import time
from collections.abc import Mapping
from pathlib import Path

from infra_validator.model_server import log, protos
from infra_validator.model_server.batching import BatchingSession, check_parameters
from infra_validator.model_server.capi import Library, Session
from infra_validator.model_server.config import LoadConfig, ModelConfig
from infra_validator.model_server.model import Model, Runner, read_signatures
from infra_validator.model_server.servables import Servable, Servables
from infra_validator.model_server.status import Code, StatusError
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
                check_parameters(parameters)
            log.info("Wrapping session to perform batch processing")
            runner = BatchingSession(session, parameters, signatures.values())
        model = Model(library, runner, signatures, config.check_method_names)
        if config.warmup_iterations:
            run_warmup(model, path, config.warmup_iterations)
    except StatusError:
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
    """Loads every version, and is content with one.

    Args:
        library: the runtime.
        model: whose versions these are.
        paths: version → directory.
        config: how to load.

    Raises:
        StatusError: UNKNOWN, where no version became available.
    """
    available: dict[int, Servable] = {}
    failed: dict[int, StatusError] = {}
    for version, path in paths.items():
        label = f"{{name: {model.name} version: {version}}}"
        log.info(f"Successfully reserved resources to load servable {label}")
        log.info(f"Approving load for servable version {label}")
        log.info(f"Loading servable version {label}")
        try:
            loaded = _load_with_retries(library, path, config, label)
        except StatusError as error:
            failed[version] = error
        else:
            available[version] = Servable(version, loaded)
            log.info(f"Successfully loaded servable version {label}")
    if not available:
        reasons = "".join(
            f"{{{{name: {model.name} version: {version}}} due to error: {error}}}, "
            for version, error in failed.items()
        )
        raise StatusError(
            Code.UNKNOWN,
            f"{len(failed)} servable(s) did not become available: {{{reasons}}}",
        )
    return Servables(model.name, available, failed, model.labels)
