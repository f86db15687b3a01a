"""A validator in a process of its own: python -m tests.platforms.kubernetes_validator JSON.

Ends upon SIGTERM as the executor does. Keys of the JSON object: `model`, `split`,
`image` (name and tag), and `kubernetes` and `limits`, the messages in JSON form.
"""

from __future__ import annotations

import json
import logging
import signal
import sys
from pathlib import Path
from typing import Any

from google.protobuf import json_format

from infra_validator.proto import infra_validator_pb2 as pb
from infra_validator.waiting import Cancellation
from tests.engine.helpers import run


def main() -> None:
    """Validates once and prints the report."""
    given: dict[str, Any] = json.loads(sys.argv[1])
    logging.basicConfig(level=logging.INFO)
    cancellation = Cancellation()
    signal.signal(signal.SIGTERM, lambda *_: cancellation.cancel("SIGTERM"))
    name, tag = given["image"]
    report = run(
        given["model"],
        split=Path(given["split"]) if given.get("split") else None,
        image_name=name,
        images=(tag,),
        limits=json_format.ParseDict(given.get("limits", {}), pb.ValidationSpec()),
        kubernetes=json_format.ParseDict(given["kubernetes"], pb.KubernetesConfig()),
        cancellation=cancellation,
    )
    print(report.to_json())


if __name__ == "__main__":
    main()
