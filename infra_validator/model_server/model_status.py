"""ModelService.GetModelStatus (tensorflow_serving/model_servers/get_model_status_impl.cc)."""

from typing import Any

from infra_validator.model_server import protos
from infra_validator.model_server.servables import Servables
from infra_validator.model_server.status import Code, StatusError, invalid_argument


def get_model_status(servables: Servables, request: Any) -> Any:
    """Answers a GetModelStatusRequest with a GetModelStatusResponse.

    Raises:
        StatusError: there is no such model or version.
    """
    if not request.HasField("model_spec"):
        raise invalid_argument("Missing ModelSpec")
    spec = request.model_spec
    versions: list[int] = []
    if spec.name == servables.name:
        versions = sorted(servables.available.keys() | servables.failed.keys())
    if spec.HasField("version"):
        if spec.version.value not in versions:
            raise StatusError(
                Code.NOT_FOUND,
                f"Could not find version {spec.version.value} of model {spec.name}",
            )
        versions = [spec.version.value]
    elif not versions:
        raise StatusError(Code.NOT_FOUND, f"Could not find any versions of model {spec.name}")
    response = protos.GetModelStatusResponse()
    for version in versions:
        entry = response.model_version_status.add(version=version)
        failure = servables.failed.get(version)
        if failure is None:
            entry.state = protos.ModelVersionStatus.AVAILABLE
            entry.status.SetInParent()
        else:
            entry.state = protos.ModelVersionStatus.END
            entry.status.error_code = int(failure.code)
            entry.status.error_message = failure.message.decode(errors="replace")
    return response
