"""The whole program: flags, load, listen, wait."""

import contextlib
import importlib.metadata
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from infra_validator.model_server import bare_tensorflow, config, flags, log
from infra_validator.model_server.batching import check_parameters
from infra_validator.model_server.capi import Library
from infra_validator.model_server.listener import open_server
from infra_validator.model_server.loading import load_servables
from infra_validator.model_server.servables import Servables
from infra_validator.model_server.services import (
    health_service,
    model_service,
    prediction_service,
)
from infra_validator.model_server.status import StatusError
from infra_validator.model_server.storage import wait_for_versions

_EXIT_FAILURE = 255


def _print(line: str) -> None:
    print(line, flush=True)


def _print_version(library: Library) -> None:
    version = importlib.metadata.version("tensorflow-serving-api")
    _print(f"TensorFlow ModelServer: {version} (embedded server of infra-validator)")
    _print(f"TensorFlow Library: {library.version()}")


def _load(library: Library, options: flags.Options) -> Servables:
    config.check_options(options)
    model = config.read_model_config(options)
    load_config = config.read_load_config(options)
    if load_config.batching is not None:
        check_parameters(load_config.batching)
    if model is None:
        return Servables("", {}, {}, {})
    paths = wait_for_versions(
        model.name, model.base_path, model.policy, options.file_system_poll_wait_seconds
    )
    return load_servables(library, model, paths, load_config)


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
    # Python turns SIGINT into an exception only once TensorFlow's C++ has returned.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    parsed = flags.parse(arguments)
    if parsed.errors or arguments[:1] == ["--help"]:
        for line in parsed.errors:
            log.error(line)
        _print(flags.usage(program))
        return _EXIT_FAILURE
    options = parsed.options
    library = Library(bare_tensorflow.package_directory())
    if options.version:
        _print_version(library)
        return 0
    if parsed.unknown:
        _print(f"unknown argument: {parsed.unknown[0]}\n{flags.usage(program)}")
    for name in parsed.ignored:
        log.warning(f"the embedded server ignores --{name}")
    if not (options.xla_cpu_compilation_enabled or options.xla_gpu_compilation_enabled):
        library.disable_xla()
    try:
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
    except StatusError as error:
        _print(f"Failed to start server. Error: {error}")
        return _EXIT_FAILURE
    server.wait_for_termination()
    return 0


def run() -> None:
    """Runs :func:`main` as a program and ends the process."""
    code = main("python -m infra_validator.model_server", sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    # TensorFlow's threads may still run; its static destructors must not meet them.
    os._exit(code)
