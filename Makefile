# make env        the locked environment in .venv
# make test       all tests, and the checks that need no server
# make test-unit  the quick tests
# make test-1.15  what concerns TFX 1.15, the last one with Kubeflow Pipelines v1, in .venv-1.15
# make test-1.21  the tests on TFX 1.21 and Python 3.13, in a container
# make demo       the example pipeline; BROKEN=1 for a model that cannot be served,
#                 PLATFORM=local_docker for a container, PLATFORM=kubernetes for a Pod of
#                 the cluster that KUBECONFIG names, both of the image SERVING_IMAGE
# make image      the embedded model server as a container image
# make image-component  the image of a step on Kubeflow
# make docs       the documentation as a site, in build/docs
# make lint       ruff and mypy
# make proto      generated code from protos/
# make lock       requirements/*.txt from requirements/*.in

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PROTO := infra_validator/proto/infra_validator
PLATFORM ?= local_process
IMAGE ?= infra-validator/model-server:dev
COMPONENT_IMAGE ?= infra-validator/component:dev
TESTS_IMAGE ?= infra-validator/tests:tfx-1.21
VENV_1_15 := .venv-1.15

# Bytecode makes every start several times quicker, so it is always written here.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: env env-1.15 test test-unit test-1.15 test-1.21 lint demo image image-component image-tests \
  docs bench proto proto-check lock clean

env: $(VENV)/.installed

$(VENV)/.installed: requirements/uv.txt requirements/dev.txt pyproject.toml .python-version
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	$(BIN)/uv pip sync --quiet --compile-bytecode --python $(BIN)/python requirements/dev.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	touch $@

# Tests wait for servers most of their time, so two files run side by side. Not so the comparisons
# with TFX's component, which asks "localhost" at the port that was published for IPv4: gRPC tries
# IPv6 first, where the engine may have given that port to another test's server.
test: env lint proto-check
	$(BIN)/python -m pytest -n 2 --dist loadfile --ignore tests/drop_in
	$(BIN)/python -m pytest tests/drop_in

test-unit: env
	$(BIN)/python -m pytest tests/unit

env-1.15: $(VENV_1_15)/.installed

$(VENV_1_15)/.installed: requirements/tfx-1.15.txt pyproject.toml | env
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(VENV_1_15)
	$(BIN)/uv pip sync --quiet --compile-bytecode --python $(VENV_1_15)/bin/python requirements/tfx-1.15.txt
	$(BIN)/uv pip install --quiet --python $(VENV_1_15)/bin/python --no-deps --no-build-isolation --editable .
	touch $@

test-1.15: env-1.15
	$(VENV_1_15)/bin/python -m pytest -n 2 --dist loadfile tests/unit tests/component tests/kubeflow

# Everything but what needs a cluster or a browser, is long and about Docker alone, or tests the
# repository and not the code. The steps of Kubeflow's example run in an image of TFX 1.21 anyway.
TESTS_1_21 := tests/unit tests/component tests/engine tests/model_server tests/pipelines tests/kubeflow \
  tests/generations tests/platforms/test_local_process.py tests/cli tests/requests tests/notebook \
  tests/report_page/test_view.py tests/gallery/test_gallery.py tests/gallery/test_categories.py \
  --ignore tests/kubeflow/test_v2_example.py

# The engine's socket and /tmp are shared, since what TFX's component mounts into a model server
# must be found by the engine under the same path.
RUN_1_21 = docker run --rm --network host --ipc host -v /var/run/docker.sock:/var/run/docker.sock -v /tmp:/tmp \
  -e REQUIRE_DOCKER $(TESTS_IMAGE)

test-1.21: image-tests
	$(RUN_1_21) python -m pytest -n 2 --dist loadfile $(TESTS_1_21)
	$(RUN_1_21) python -m pytest tests/drop_in
	$(RUN_1_21) python examples/penguin/run.py --output /root/demo-output
	$(RUN_1_21) python examples/penguin/run.py --output /root/demo-output --broken

lint: env
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

demo: env
	$(BIN)/python examples/penguin/run.py --output demo-output --platform $(PLATFORM) $(if $(SERVING_IMAGE),--image $(SERVING_IMAGE)) $(if $(BROKEN),--broken)

image:
	docker build --quiet --network host -f docker/model-server/Dockerfile -t $(IMAGE) .

image-component:
	docker build --quiet --network host -f docker/component/Dockerfile --target component -t $(COMPONENT_IMAGE) .

image-tests:
	docker build --quiet --network host -f docker/component/Dockerfile --target tests -t $(TESTS_IMAGE) .

build/docs-env/.installed: requirements/docs.txt | env
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python build/docs-env
	$(BIN)/uv pip sync --quiet --python build/docs-env/bin/python requirements/docs.txt
	touch $@

docs: build/docs-env/.installed
	build/docs-env/bin/sphinx-build -W --keep-going -q -b html docs build/docs

bench: env
	$(BIN)/python benchmarks/overhead.py
	$(BIN)/python benchmarks/examples.py
	$(BIN)/python benchmarks/request_building.py
	$(BIN)/python benchmarks/model_server.py
	$(BIN)/python benchmarks/local_docker.py
	$(BIN)/python benchmarks/on_kubernetes.py

# Code generated by this protoc runs on protobuf 3.20 to 6; its Python package wants another
# protobuf than TFX does, so it has an environment of its own.
build/protoc/.installed: requirements/protoc.txt | env
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python build/protoc
	$(BIN)/uv pip sync --quiet --python build/protoc/bin/python requirements/protoc.txt
	touch $@

proto: build/protoc/.installed
	build/protoc/bin/python -W ignore -m grpc_tools.protoc -I protos --python_out=. --pyi_out=. $(PROTO).proto

proto-check: build/protoc/.installed
	mkdir -p build/generated
	build/protoc/bin/python -W ignore -m grpc_tools.protoc -I protos --python_out=build/generated --pyi_out=build/generated $(PROTO).proto
	@for file in $(PROTO)_pb2.py $(PROTO)_pb2.pyi; do \
	  cmp $$file build/generated/$$file || { echo "$$file is stale: run 'make proto' and commit it"; exit 1; }; \
	done

lock: env
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --python-version 3.10 requirements/uv.in -o requirements/uv.txt
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --python-version 3.10 requirements/dev.in -o requirements/dev.txt
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --python-version 3.10 requirements/protoc.in -o requirements/protoc.txt
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --python-version 3.10 requirements/docs.in -o requirements/docs.txt
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --python-version 3.10 requirements/sdk.in -o requirements/sdk.txt
	$(BIN)/uv pip compile --quiet --generate-hashes --no-header --python-version 3.13 --python-platform x86_64-manylinux_2_40 requirements/model-server.in -o requirements/model-server.txt

	$(BIN)/uv pip compile --quiet --generate-hashes --no-header --python-version 3.10 --python-platform x86_64-manylinux_2_28 requirements/tfx-1.15.in -o requirements/tfx-1.15.txt
	$(BIN)/uv pip compile --quiet --generate-hashes --no-header --python-version 3.13 --python-platform x86_64-manylinux_2_40 -c requirements/dev.txt requirements/component.in -o requirements/component.txt

clean:
	rm -rf $(VENV) $(VENV_1_15) build dist demo-output
