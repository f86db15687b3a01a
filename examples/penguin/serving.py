"""Where the model is tried out before it is pushed: one entry for each serving platform."""

from __future__ import annotations

from infra_validator import LocalProcessConfig, ServingSpec, TensorFlowServing

SERVING_SPECS: dict[str, ServingSpec] = {
    "local_process": ServingSpec(
        tensorflow_serving=TensorFlowServing(), local_process=LocalProcessConfig()
    ),
}
