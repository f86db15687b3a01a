"""A drop-in InfraValidator for TFX: serves the candidate model, and says why it cannot be served.

Everything that a pipeline needs is imported from here:

    from infra_validator import InfraValidator, ServingSpec, TensorFlowServing, LocalProcessConfig

What is named here is loaded when it is first used, so importing the package is
quick and needs neither TensorFlow nor TFX.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from infra_validator.version import __version__

if TYPE_CHECKING:
    from infra_validator.api import validate
    from infra_validator.component import InfraValidator
    from infra_validator.proto.infra_validator_pb2 import (
        ConfigFile,
        CustomPlatformConfig,
        DeviceRequest,
        EnvVar,
        EnvVarSource,
        KubernetesConfig,
        LocalDockerConfig,
        LocalProcessConfig,
        Mount,
        PodOverrides,
        RequestSpec,
        Resources,
        SecretKeySelector,
        ServingSpec,
        Specs,
        TensorFlowServing,
        TensorFlowServingRequestSpec,
        Toleration,
        Ulimit,
        ValidationSpec,
    )
    from infra_validator.report import Report, Verdict
    from infra_validator.specs import SpecError

__all__ = [
    "ConfigFile",
    "CustomPlatformConfig",
    "DeviceRequest",
    "EnvVar",
    "EnvVarSource",
    "InfraValidator",
    "KubernetesConfig",
    "LocalDockerConfig",
    "LocalProcessConfig",
    "Mount",
    "PodOverrides",
    "Report",
    "RequestSpec",
    "Resources",
    "SecretKeySelector",
    "ServingSpec",
    "SpecError",
    "Specs",
    "TensorFlowServing",
    "TensorFlowServingRequestSpec",
    "Toleration",
    "Ulimit",
    "ValidationSpec",
    "Verdict",
    "__version__",
    "validate",
]

_HOMES = {
    "InfraValidator": "component",
    "Report": "report",
    "SpecError": "specs",
    "Verdict": "report",
    "validate": "api",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = _HOMES.get(name, "proto.infra_validator_pb2")
    return getattr(importlib.import_module(f"{__name__}.{home}"), name)


def __dir__() -> list[str]:
    return __all__
