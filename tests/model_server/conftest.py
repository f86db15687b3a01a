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
