"""PredictionService.GetModelMetadata.

tensorflow_serving/servables/tensorflow/get_model_metadata_impl.cc.
"""

from typing import Any

from infra_validator.model_server import protos
from infra_validator.model_server.servables import Servables
from infra_validator.model_server.status import invalid_argument

_SIGNATURE_DEF = "signature_def"


def get_model_metadata(servables: Servables, request: Any) -> Any:
    """Answers a GetModelMetadataRequest with a GetModelMetadataResponse.

    Raises:
        StatusError: the request names no model, a model that is not here, or a field other than
            ``signature_def``.
    """
    if not request.HasField("model_spec"):
        raise invalid_argument("Missing ModelSpec")
    if not request.metadata_field:
        raise invalid_argument("GetModelMetadataRequest must specify at least one metadata_field")
    for field in request.metadata_field:
        if field != _SIGNATURE_DEF:
            raise invalid_argument(f"Metadata field {field} is not supported")
    servable = servables.find(request.model_spec)
    signatures = protos.SignatureDefMap()
    for name, signature in servable.model.signatures.items():
        signatures.signature_def[name].CopyFrom(signature.definition)
    response = protos.GetModelMetadataResponse()
    response.model_spec.name = servables.name
    response.model_spec.version.value = servable.version
    response.metadata[_SIGNATURE_DEF].Pack(signatures)
    return response
