"""Writes the pipeline as Kubeflow takes it: a workflow for v1, a pipeline spec for v2."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tfx import v1 as tfx

# Those that a step can use: it has no Docker engine.
PLATFORMS = ("local_process", "kubernetes")

# The environment for each version, besides infra-validator itself.
NEEDED = {
    "v1": "TFX 1.15 and its extra kfp, the last with KubeflowDagRunner "
    "(make env-1.15; .venv-1.15/bin/python)",
    "v2": "TFX 1.16 to 1.21 and kfp (uv pip install '.[kubeflow]')",
}


def claim(text: str) -> tuple[str, str]:
    """The claim's name, and where it is mounted."""
    name, _, path = text.partition(":")
    if not name or not path.startswith("/"):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not NAME:PATH with an absolute path, such as pipeline-data:/mnt/data"
        )
    return name, path


def main() -> None:
    """Reads the arguments and writes the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("version", choices=("v1", "v2"), help="of Kubeflow Pipelines")
    parser.add_argument("--image", required=True, help="of the steps; see README.md")
    parser.add_argument("--root", required=True, help="folder or URI for what components write")
    parser.add_argument("--push-to", required=True, help="folder or URI of the served models")
    parser.add_argument(
        "--platform",
        choices=PLATFORMS,
        default="local_process",
        help="where the model is tried out (default: %(default)s)",
    )
    parser.add_argument(
        "--claim",
        type=claim,
        metavar="NAME:PATH",
        help="v1: a persistent volume claim, and where every step mounts it",
    )
    parser.add_argument("--output", type=Path, default=Path(), help="folder (default: this one)")
    args = parser.parse_args()
    if args.claim and args.version == "v2":
        parser.error("--claim is for v1; for v2 see 'Volumes' in docs/kubeflow.md")
    args.output.mkdir(parents=True, exist_ok=True)
    try:
        from pipeline import create_pipeline

        pipeline = create_pipeline(root=args.root, push_to=args.push_to, platform=args.platform)
        if args.version == "v1":
            compile_v1(pipeline, args)
        else:
            compile_v2(pipeline, args)
    except ImportError as error:
        sys.exit(
            f"A pipeline for Kubeflow Pipelines {args.version} is compiled with infra-validator, "
            f"{NEEDED[args.version]}: {error}."
        )


def compile_v1(pipeline: tfx.dsl.Pipeline, args: argparse.Namespace) -> None:
    """An Argo workflow."""
    from kfp import onprem
    from pipeline import NAME
    from tfx.orchestration.kubeflow import kubeflow_dag_runner

    functions = kubeflow_dag_runner.get_default_pipeline_operator_funcs()
    if args.claim:
        name, path = args.claim
        functions.append(onprem.mount_pvc(name, name, path))
    config = kubeflow_dag_runner.KubeflowDagRunnerConfig(
        tfx_image=args.image, pipeline_operator_funcs=functions
    )
    kubeflow_dag_runner.KubeflowDagRunner(
        config=config, output_dir=str(args.output), output_filename=f"{NAME}-v1.yaml"
    ).run(pipeline)


def compile_v2(pipeline: tfx.dsl.Pipeline, args: argparse.Namespace) -> None:
    """A pipeline spec."""
    from pipeline import NAME
    from tfx.orchestration.kubeflow.v2 import kubeflow_v2_dag_runner

    config = kubeflow_v2_dag_runner.KubeflowV2DagRunnerConfig(
        default_image=args.image, use_pipeline_spec_2_1=True
    )
    kubeflow_v2_dag_runner.KubeflowV2DagRunner(
        config=config, output_dir=str(args.output), output_filename=f"{NAME}-v2.yaml"
    ).run(pipeline)


if __name__ == "__main__":
    sys.exit(main())
