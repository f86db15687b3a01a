"""Every protocol message that the server uses, in one place.

The generated modules carry no types, so the messages are ``Any`` to the type checker. Messages
that the ``tensorflow-serving-api`` distribution does not ship are built here from descriptors.
"""

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, wrappers_pb2
from google.protobuf.message import DecodeError, Message
from tensorflow.core.framework.tensor_pb2 import TensorProto
from tensorflow.core.framework.types_pb2 import DataType
from tensorflow.core.protobuf.config_pb2 import (
    ConfigProto,
    RunOptions,
)
from tensorflow.core.protobuf.meta_graph_pb2 import (
    MetaGraphDef,
    SignatureDef,
)
from tensorflow_serving.apis.classification_pb2 import (
    ClassificationRequest,
    ClassificationResponse,
    ClassificationResult,
)
from tensorflow_serving.apis.get_model_metadata_pb2 import (
    GetModelMetadataRequest,
    GetModelMetadataResponse,
    SignatureDefMap,
)
from tensorflow_serving.apis.get_model_status_pb2 import (
    GetModelStatusRequest,
    GetModelStatusResponse,
    ModelVersionStatus,
)
from tensorflow_serving.apis.inference_pb2 import (
    MultiInferenceRequest,
    MultiInferenceResponse,
)
from tensorflow_serving.apis.input_pb2 import Input
from tensorflow_serving.apis.model_management_pb2 import (
    ReloadConfigRequest,
)
from tensorflow_serving.apis.model_pb2 import ModelSpec
from tensorflow_serving.apis.predict_pb2 import (
    PredictRequest,
    PredictResponse,
)
from tensorflow_serving.apis.prediction_log_pb2 import (
    PredictionLog,
)
from tensorflow_serving.apis.regression_pb2 import (
    RegressionRequest,
    RegressionResponse,
    RegressionResult,
)
from tensorflow_serving.config.model_server_config_pb2 import (
    ModelServerConfig,
)

__all__ = [
    "BatchingParameters",
    "ClassificationRequest",
    "ClassificationResponse",
    "ClassificationResult",
    "ConfigProto",
    "DataType",
    "DecodeError",
    "GetModelMetadataRequest",
    "GetModelMetadataResponse",
    "GetModelStatusRequest",
    "GetModelStatusResponse",
    "HealthCheckRequest",
    "HealthCheckResponse",
    "Input",
    "Message",
    "MetaGraphDef",
    "ModelServerConfig",
    "ModelSpec",
    "ModelVersionStatus",
    "MultiInferenceRequest",
    "MultiInferenceResponse",
    "PredictRequest",
    "PredictResponse",
    "PredictionLog",
    "RegressionRequest",
    "RegressionResponse",
    "RegressionResult",
    "ReloadConfigRequest",
    "RunOptions",
    "SignatureDef",
    "SignatureDefMap",
    "TensorProto",
]

_Field = descriptor_pb2.FieldDescriptorProto
_WRAPPERS = wrappers_pb2.DESCRIPTOR.package


def _field(name: str, number: int, kind: Any, *, message: str = "", repeated: bool = False) -> Any:
    label = _Field.LABEL_REPEATED if repeated else _Field.LABEL_OPTIONAL
    return _Field(name=name, number=number, type=kind, label=label, type_name=message or None)


def _wrapped(name: str, number: int, wrapper: str) -> Any:
    return _field(name, number, _Field.TYPE_MESSAGE, message=f".{_WRAPPERS}.{wrapper}")


def _build(package: str, messages: dict[str, list[Any]]) -> list[Any]:
    """Makes message classes in a pool of their own, so that they never clash with real ones."""
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    file = descriptor_pb2.FileDescriptorProto(
        name=f"{package}.proto",
        package=package,
        syntax="proto3",
        dependency=[wrappers_pb2.DESCRIPTOR.name],
    )
    for name, fields in messages.items():
        file.message_type.add(name=name).field.extend(fields)
    pool.AddSerializedFile(file.SerializeToString())
    descriptors = [pool.FindMessageTypeByName(f"{package}.{name}") for name in messages]
    # protobuf 3.20 has only the factory class, protobuf 5 and later only the function.
    make: Any = getattr(message_factory, "GetMessageClass", None)
    if make is None:
        factory: Any = message_factory.MessageFactory(pool)
        make = factory.GetPrototype
    return [make(descriptor) for descriptor in descriptors]


# tensorflow_serving/servables/tensorflow/session_bundle_config.proto
(BatchingParameters,) = _build(
    "tensorflow.serving",
    {
        "BatchingParameters": [
            _wrapped("max_batch_size", 1, "Int64Value"),
            _wrapped("batch_timeout_micros", 2, "Int64Value"),
            _wrapped("max_enqueued_batches", 3, "Int64Value"),
            _wrapped("num_batch_threads", 4, "Int64Value"),
            _wrapped("thread_pool_name", 5, "StringValue"),
            _field("allowed_batch_sizes", 6, _Field.TYPE_INT64, repeated=True),
            _field("pad_variable_length_inputs", 7, _Field.TYPE_BOOL),
            _wrapped("enable_large_batch_splitting", 8, "BoolValue"),
            _wrapped("max_execution_batch_size", 9, "Int64Value"),
        ]
    },
)

# grpc/health/v1/health.proto; the enum travels as an int32.
HealthCheckRequest, HealthCheckResponse = _build(
    "grpc.health.v1",
    {
        "HealthCheckRequest": [_field("service", 1, _Field.TYPE_STRING)],
        "HealthCheckResponse": [_field("status", 1, _Field.TYPE_INT32)],
    },
)
