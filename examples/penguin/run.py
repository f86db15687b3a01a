"""Runs the penguin pipeline on this machine and says what came of it.

Heavy modules are loaded only after the arguments were read and the user was told.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import traceback
import warnings
from pathlib import Path

from serving import DEFAULT_IMAGE, PLATFORMS, serving_binary, serving_spec

from infra_validator import TensorFlowServing

_HERE = Path(__file__).resolve().parent


def main() -> int:
    """Runs the pipeline; 0 if it came to its end, whatever the verdict."""
    args = _parse_args()
    name = "penguin-broken" if args.broken else "penguin"
    home = args.output.resolve() / name
    home.mkdir(parents=True, exist_ok=True)
    metadata = home / "metadata.sqlite"

    print(f"Pipeline {name}; loading TFX, which takes a while.", flush=True)
    _silence_imports()
    from pipeline import create_pipeline
    from progress import follow_tfx
    from summary import describe, read_outcome
    from tfx import v1 as tfx

    from infra_validator.executor import ValidationFailedError

    _silence_libraries()
    progress = follow_tfx()
    pipeline = create_pipeline(
        name=name,
        root=home / "pipeline_root",
        metadata=metadata,
        data=_HERE / "data",
        push_to=home / "pushed",
        trainer_module="broken_trainer" if args.broken else "trainer",
        serving_spec=serving_spec(args.platform, args.image),
    )
    try:
        tfx.orchestration.LocalDagRunner().run(pipeline)
    except Exception as error:
        component = progress.fail()
        if isinstance(error, ValidationFailedError):  # its text says all
            print(f"\nFAILED in {component}: {error}")
        else:
            traceback.print_exc()
            print(f"\nFAILED in {component or 'TFX'}. To start from nothing, remove {home}")
        return 1
    print(f"\n{describe(read_outcome(metadata))}", flush=True)
    return 0


def _parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--output", type=Path, default=Path("demo-output"), help="folder for all that is written"
    )
    parser.add_argument(
        "--broken", action="store_true", help="export a model that no model server can answer with"
    )
    parser.add_argument(
        "--platform",
        choices=sorted(PLATFORMS),
        default="local_process",
        help="where the model is tried out",
    )
    parser.add_argument(
        "--image",
        type=_image,
        default=DEFAULT_IMAGE,
        help="what serves on platforms that run images, as name:tag or name@digest "
        "(default: %(default)s)",
    )
    return parser.parse_args()


def _image(text: str) -> TensorFlowServing:
    try:
        return serving_binary(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _silence_imports() -> None:
    """Leaves out what libraries say while they load; TensorFlow reads its variables only then."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    warnings.simplefilter("ignore")


def _silence_libraries() -> None:
    """Leaves out warnings: here they are about the insides of libraries, not about the model."""
    for name in (None, "tensorflow"):
        logging.getLogger(name).setLevel(logging.ERROR)


if __name__ == "__main__":
    sys.exit(main())
