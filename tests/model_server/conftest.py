from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import embedded_saved_models

    return embedded_saved_models.save_zoo(tmp_path_factory.mktemp("zoo"))


@pytest.fixture(scope="session")
def matrix(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import embedded_saved_models

    return embedded_saved_models.save_matrix(tmp_path_factory.mktemp("matrix"))


@pytest.fixture(scope="session")
def zoo_server(zoo: Path) -> Iterator[Any]:
    import embedded_server_process

    with embedded_server_process.running(zoo) as (client, server):
        yield client
        assert server.process.poll() is None, server.log
        assert "Traceback" not in server.log


@pytest.fixture(scope="session")
def padding_server(zoo: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    import embedded_server_process

    file = tmp_path_factory.mktemp("padding") / "parameters.txt"
    file.write_text(
        "max_batch_size { value: 4 } allowed_batch_sizes: 2 allowed_batch_sizes: 4 "
        "batch_timeout_micros { value: 5 } pad_variable_length_inputs: true"
    )
    flags = ("--enable_batching", f"--batching_parameters_file={file}")
    with embedded_server_process.running(zoo, *flags) as (client, server):
        yield client
        assert server.process.poll() is None, server.log
        assert "Traceback" not in server.log
        assert (
            "the embedded server ignores --batching_parameters_file's batch_timeout_micros, "
            "pad_variable_length_inputs"
        ) in server.log
