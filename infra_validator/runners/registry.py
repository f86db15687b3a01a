"""Which platforms there are."""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Mapping
from typing import Any, cast

from infra_validator.config import PlatformConfig
from infra_validator.faults import FaultError, Phase, fault
from infra_validator.runners.base import Platform

ENTRY_POINT_GROUP = "infra_validator.platforms"
"""A package registers a platform here: name = "module:callable". The callable takes the platform's
configuration, a mapping of plain JSON values, and returns a `Platform`."""

_BUILT_IN: Mapping[str, str] = {
    "kubernetes": "infra_validator.runners.kubernetes.platform:KubernetesPlatform",
    "local_docker": "infra_validator.runners.local_docker:LocalDockerPlatform",
    "local_process": "infra_validator.runners.local_process:LocalProcessPlatform",
}


def load_platform(config: PlatformConfig) -> Platform:
    """Makes a platform, importing it and what it needs.

    Raises:
        FaultError: "configuration_invalid" if there is none of that name, or it
            refuses its configuration by a ValueError.
    """
    factory = _find(config.name)
    try:
        return cast(Platform, factory(config.settings))
    except ValueError as error:
        raise _invalid(
            f"The platform {config.name!r} refuses its configuration: {error}",
            "Correct the platform's configuration.",
        ) from error


def _find(name: str) -> Any:
    if name in _BUILT_IN:
        module, _, attribute = _BUILT_IN[name].partition(":")
        return getattr(importlib.import_module(module), attribute)
    entry_points = importlib.metadata.entry_points(group=ENTRY_POINT_GROUP)
    for entry_point in entry_points:
        if entry_point.name == name:
            try:
                return entry_point.load()
            except (ImportError, AttributeError) as error:
                raise _invalid(
                    f"The platform {name!r} cannot be loaded from {entry_point.value}: {error}",
                    "Repair the package that provides the platform, or install what it needs.",
                ) from error
    known = ", ".join(sorted({*_BUILT_IN, *(point.name for point in entry_points)}))
    raise _invalid(
        f"ServingSpec.custom_platform.name: no platform {name!r} is installed here; there are: "
        f"{known}.",
        "Install the package that provides the platform where the validator runs, or correct the "
        "name.",
    )


def _invalid(summary: str, hint: str) -> FaultError:
    return FaultError(fault("configuration_invalid", Phase.CONFIGURE, summary, hint=hint))
