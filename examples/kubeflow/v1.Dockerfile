# The image of the steps for Kubeflow Pipelines v1: TFX 1.15, the last with its runner, on Python
# 3.10, with this component, and this pipeline's data and training code. From the repository's root:
#
#     docker build -f examples/kubeflow/v1.Dockerfile -t penguin-1.15 .
ARG BASE=python:3.10-slim
FROM ${BASE} AS environment

# TFX needs pyfarmhash, which is built from source.
RUN apt-get update \
 && apt-get install -y --no-install-recommends g++ \
 && rm -rf /var/lib/apt/lists/*
COPY requirements/uv.txt requirements/tfx-1.15.txt /tmp/requirements/
RUN python -m venv /opt/tfx \
 && /opt/tfx/bin/pip install --quiet --no-cache-dir --require-hashes -r /tmp/requirements/uv.txt \
 && /opt/tfx/bin/uv pip sync --quiet --no-cache --compile-bytecode --require-hashes \
    --python /opt/tfx/bin/python /tmp/requirements/tfx-1.15.txt
COPY pyproject.toml README.md LICENSE /tmp/infra-validator/
COPY infra_validator/ /tmp/infra-validator/infra_validator/
RUN /opt/tfx/bin/uv pip install --quiet --no-cache --compile-bytecode --no-deps \
    --python /opt/tfx/bin/python /tmp/infra-validator

FROM ${BASE}

COPY --from=environment /opt/tfx /opt/tfx
COPY examples/penguin/trainer.py /pipeline/
COPY examples/penguin/data/ /pipeline/data/
# Kubeflow starts `python -m …`.
ENV PATH=/opt/tfx/bin:$PATH PYTHONPATH=/pipeline
