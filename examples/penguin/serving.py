"""Where the model is tried out before it is pushed: one entry for each serving platform."""

from __future__ import annotations

from infra_validator import (
    KubernetesConfig,
    LocalDockerConfig,
    LocalProcessConfig,
    ServingSpec,
    TensorFlowServing,
)

DEFAULT_IMAGE = "tensorflow/serving:2.16.1"
"""What production serves with; platforms that run no image pass over it."""

PLATFORMS = {
    "kubernetes": ServingSpec(kubernetes=KubernetesConfig()),
    "local_docker": ServingSpec(local_docker=LocalDockerConfig()),
    "local_process": ServingSpec(local_process=LocalProcessConfig()),
}


def serving_binary(image: str) -> TensorFlowServing:
    """The serving binary of an image.

    Args:
        image: "name:tag" or "name@sha256:...".

    Raises:
        ValueError: if it has neither.
    """
    name, _, digest = image.partition("@")
    if digest:
        return TensorFlowServing(image_name=name, digests=[digest])
    name, _, tag = image.rpartition(":")
    if not name or "/" in tag:
        raise ValueError(f"{image!r} has neither a tag nor a digest")
    return TensorFlowServing(image_name=name, tags=[tag])


def serving_spec(platform: str, binary: TensorFlowServing) -> ServingSpec:
    """What to try the model on.

    Args:
        platform: a key of `PLATFORMS`.
        binary: what serves there.
    """
    # A process runs no image; without one in its spec the report needs no word about it.
    if platform == "local_process":
        binary = TensorFlowServing()
    spec = ServingSpec(tensorflow_serving=binary)
    spec.MergeFrom(PLATFORMS[platform])
    return spec
