"""A stand-in for Kubeflow's metadata service: ml-metadata's servicer over SQLite.

Kubeflow serves ml-metadata's C++ server over MySQL. TFX's entrypoint for Kubeflow Pipelines v1
reaches its metadata only so; here the same requests go to the same library in Python.

    python -m tests.kubeflow.metadata_server DATABASE PORT
"""

from __future__ import annotations

import concurrent.futures
import sys
from collections.abc import Callable
from typing import Any

import grpc
from ml_metadata import errors
from ml_metadata.metadata_store import metadata_store
from ml_metadata.metadata_store.pywrap.metadata_store_extension import (
    metadata_store as metadata_store_serialized,
)
from ml_metadata.proto import (
    metadata_store_pb2,
    metadata_store_service_pb2,
    metadata_store_service_pb2_grpc,
)

_STATUS = {status.value[0]: status for status in grpc.StatusCode}


def serve(database: str, address: str = "127.0.0.1:0") -> tuple[grpc.Server, int]:
    """Starts the service; returns it with its port."""
    config = metadata_store_pb2.ConnectionConfig()
    config.sqlite.filename_uri = database
    config.sqlite.connection_mode = (
        metadata_store_pb2.SqliteMetadataSourceConfig.READWRITE_OPENCREATE
    )
    servicer = metadata_store_service_pb2_grpc.MetadataStoreServiceServicer()
    store = metadata_store.MetadataStore(config)
    service = metadata_store_service_pb2.DESCRIPTOR.services_by_name["MetadataStoreService"]
    for method in service.methods:
        answer = getattr(metadata_store_service_pb2, method.output_type.name)
        setattr(servicer, method.name, _handler(store, method.name, answer))
    # One thread: the store is not made for several.
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(1))
    metadata_store_service_pb2_grpc.add_MetadataStoreServiceServicer_to_server(servicer, server)
    port: int = server.add_insecure_port(address)
    server.start()
    return server, port


def _handler(store: Any, name: str, answer: Any) -> Callable[[Any, grpc.ServicerContext], Any]:
    def handle(request: Any, context: grpc.ServicerContext) -> Any:
        response = answer()
        try:
            store._pywrap_cc_call(getattr(metadata_store_serialized, name), request, response)
        except errors.StatusError as error:
            context.abort(_STATUS[error.error_code], error.message)
        return response

    return handle


if __name__ == "__main__":
    running, bound = serve(sys.argv[1], f"0.0.0.0:{sys.argv[2]}")
    print(bound, flush=True)
    running.wait_for_termination()
