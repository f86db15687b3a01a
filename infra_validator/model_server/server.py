"""The whole program: flags, load, listen, wait."""

import contextlib
import importlib.metadata
import io
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from infra_validator.model_server import bare_tensorflow, config, flags, log
from infra_validator.model_server.capi import Library
from infra_validator.model_server.listener import open_server
from infra_validator.model_server.loading import load_servables
from infra_validator.model_server.servables import Servables
from infra_validator.model_server.services import (
    health_service,
    model_service,
    prediction_service,
)
from infra_validator.model_server.status import StatusError, unexpected
from infra_validator.model_server.storage import wait_for_versions
from infra_validator.version import __version__

_EXIT_FAILURE = 255


def _version(library: Library) -> tuple[str, str]:
    """The lines of --version. They begin the log too, so that it says who is speaking."""
    version = importlib.metadata.version("tensorflow-serving-api")
    return (
        f"TensorFlow ModelServer: {version} (embedded server of infra-validator {__version__})",
        f"TensorFlow Library: {library.version()}",
    )


def _load(library: Library, options: flags.Options) -> Servables:
    config.check_options(options)
    model = config.read_model_config(options)
    load_config = config.read_load_config(options)
    if model is None:
        return Servables("", {}, {}, labels=None)
    if not model.base_path:
        return Servables("", {}, {}, model.labels)
    paths = wait_for_versions(
        model.name, model.base_path, model.policy, options.file_system_poll_wait_seconds
    )
    return load_servables(library, model, paths, load_config)


def _disable_xla(library: Library) -> None:
    if not library.disable_xla():
        log.warning(
            "the embedded server ignores --xla_cpu_compilation_enabled=false: "
            "XLA cannot be switched off in this TensorFlow"
        )


def _die_at_once(socket_path: str) -> None:
    """Lets SIGTERM and SIGINT end the process as they end the real server, socket file removed."""

    def handle(number: int, _frame: FrameType | None) -> None:
        if socket_path:
            with contextlib.suppress(OSError):
                Path(socket_path).unlink()
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        # The first process of a container does not die of a signal's default action.
        os._exit(128 + number)

    signal.signal(signal.SIGTERM, handle)
    signal.signal(signal.SIGINT, handle)


def main(program: str, arguments: Sequence[str]) -> int:
    """Serves until a signal ends the process.

    Args:
        program: its name, for the usage text.
        arguments: the command line behind it.

    Returns:
        The exit code, where the server does not start.
    """
    try:
        return _main(program, arguments)
    except StatusError as error:
        status = error
    except Exception as error:
        status = unexpected(error)
    log.plain(f"Failed to start server. Error: {status}")
    return _EXIT_FAILURE


def _main(program: str, arguments: Sequence[str]) -> int:
    parsed = flags.parse(arguments)
    if parsed.errors or parsed.help:
        for line in parsed.errors:
            log.error(line)
        log.plain(flags.usage(program))
        return _EXIT_FAILURE
    options = parsed.options
    library = Library(bare_tensorflow.package_directory())
    if options.version:
        for line in _version(library):
            log.plain(line)
        return 0
    for line in _version(library):
        log.info(line)
    if parsed.unknown:
        log.plain(f"unknown argument: {parsed.unknown[0]}\n{flags.usage(program)}")
    for name in parsed.ignored:
        log.warning(f"the embedded server ignores --{name}")
    if not (options.xla_cpu_compilation_enabled or options.xla_gpu_compilation_enabled):
        _disable_xla(library)
    arguments_of_grpc = config.grpc_arguments(options.grpc_channel_arguments)
    servables = _load(library, options)
    handlers = [model_service(servables), prediction_service(servables)]
    if options.enable_grpc_healthcheck_service:
        handlers.append(health_service())
    _die_at_once(options.grpc_socket_path)
    server = open_server(
        handlers,
        port=options.port,
        socket_path=options.grpc_socket_path,
        max_threads=options.grpc_max_threads,
        arguments=arguments_of_grpc,
    )
    server.wait_for_termination()
    return 0


def run() -> None:
    """Runs :func:`main` as a program and ends the process."""
    for stream in (sys.stdout, sys.stderr):
        # Arguments and names of files are bytes, and go out as they came in.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="surrogateescape")
    code = main("python -m infra_validator.model_server", sys.argv[1:])
    # TensorFlow's threads may still run; its static destructors must not meet them.
    os._exit(code)
