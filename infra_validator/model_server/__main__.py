"""``python -m infra_validator.model_server``."""

import sys

from infra_validator.model_server import bare_tensorflow


def _main() -> None:
    try:
        bare_tensorflow.install()
    except ModuleNotFoundError:
        sys.exit("the embedded model server needs TensorFlow: pip install tensorflow")
    # Only now can TensorFlow's protos be imported without TensorFlow.
    from infra_validator.model_server import server

    server.run()


_main()
