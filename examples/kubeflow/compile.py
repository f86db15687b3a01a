"""Writes the pipeline as Kubeflow takes it: a workflow for v1, a pipeline spec for v2."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from pipeline import NAME, create_pipeline
from tfx import v1 as tfx


def main() -> None:
    """Reads the arguments and writes the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("version", choices=("v1", "v2"), help="of Kubeflow Pipelines")
    parser.add_argument("--image", required=True, help="of the steps; see Dockerfile")
    parser.add_argument("--root", required=True, help="folder or URI for what components write")
    parser.add_argument("--push-to", required=True, help="folder or URI of the served models")
    parser.add_argument(
        "--platform", default="local_process", help="a field of ServingSpec (default: %(default)s)"
    )
    parser.add_argument(
        "--claim",
        metavar="NAME:PATH",
        help="v1: a persistent volume claim, and where every step mounts it",
    )
    parser.add_argument("--output", type=Path, default=Path(), help="folder (default: this one)")
    args = parser.parse_args()
    pipeline = create_pipeline(root=args.root, push_to=args.push_to, platform=args.platform)
    args.output.mkdir(parents=True, exist_ok=True)
    if args.version == "v1":
        compile_v1(pipeline, args)
    else:
        compile_v2(pipeline, args)


def compile_v1(pipeline: tfx.dsl.Pipeline, args: argparse.Namespace) -> None:
    """An Argo workflow; needs TFX 1.15, the last with this runner."""
    from kfp import onprem
    from tfx.orchestration.kubeflow import kubeflow_dag_runner

    functions = kubeflow_dag_runner.get_default_pipeline_operator_funcs()
    if args.claim:
        name, _, path = args.claim.partition(":")
        functions.append(onprem.mount_pvc(name, name, path))
    config = kubeflow_dag_runner.KubeflowDagRunnerConfig(
        tfx_image=args.image, pipeline_operator_funcs=functions
    )
    kubeflow_dag_runner.KubeflowDagRunner(
        config=config, output_dir=str(args.output), output_filename=f"{NAME}-v1.yaml"
    ).run(pipeline)


def compile_v2(pipeline: tfx.dsl.Pipeline, args: argparse.Namespace) -> None:
    """A pipeline spec; the extra `kubeflow` brings what this needs."""
    from tfx.orchestration.kubeflow.v2 import kubeflow_v2_dag_runner

    config = kubeflow_v2_dag_runner.KubeflowV2DagRunnerConfig(
        default_image=args.image, use_pipeline_spec_2_1=True
    )
    kubeflow_v2_dag_runner.KubeflowV2DagRunner(
        config=config, output_dir=str(args.output), output_filename=f"{NAME}-v2.yaml"
    ).run(pipeline)


if __name__ == "__main__":
    sys.exit(main())
