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
        TensorFlowServing,
        TensorFlowServingRequestSpec,
        Toleration,
        Ulimit,
        ValidationSpec,
    )

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
    "RequestSpec",
    "Resources",
    "SecretKeySelector",
    "ServingSpec",
    "TensorFlowServing",
    "TensorFlowServingRequestSpec",
    "Toleration",
    "Ulimit",
    "ValidationSpec",
    "__version__",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = "component" if name == "InfraValidator" else "proto.infra_validator_pb2"
    return getattr(importlib.import_module(f"{__name__}.{home}"), name)


def __dir__() -> list[str]:
    return __all__
