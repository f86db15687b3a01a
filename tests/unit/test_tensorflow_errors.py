import pytest

from infra_validator.tensorflow_errors import find_missing_op

PYTHON = "tf.py_function"


@pytest.mark.parametrize(
    ("message", "name"),
    [
        ("", None),
        ("Op type 'x' is known", None),
        ("Could not find variable dense/kernel", None),
        (
            "Op type not registered 'Custom>Op' in binary running on host. Make sure the Op and "
            "Kernel are registered in the binary running in this process.",
            "Custom>Op",
        ),
        (
            "No OpKernel was registered to support Op 'Unheard' used by {{node x}} with "
            "these attrs: []",
            "Unheard",
        ),
        ("two lines\nOp type not registered 'A' in binary", "A"),
    ],
)
def test_finds_the_op_that_the_server_does_not_have(message: str, name: str | None) -> None:
    missing = find_missing_op(message)
    assert (missing and missing.name) == name
    assert missing is None or missing.hint is None


@pytest.mark.parametrize("name", ["PyFunc", "PyFuncStateless", "EagerPyFunc"])
def test_knows_what_to_do_about_ops_of_python(name: str) -> None:
    missing = find_missing_op(f"Op type not registered '{name}' in binary running on host.")
    assert missing is not None
    assert PYTHON in (missing.hint or "")


@pytest.mark.parametrize(
    ("name", "package"),
    [
        ("SentencepieceOp", "tensorflow-text"),
        ("WhitespaceTokenizeWithOffsets", "tensorflow-text"),
        ("SimpleMLInferenceOpWithHandle", "tensorflow-decision-forests"),
        ("IO>ReadableInit", "tensorflow-io"),
    ],
)
def test_knows_the_package_that_an_op_is_likely_of(name: str, package: str) -> None:
    missing = find_missing_op(f"Op type not registered '{name}' in binary running on host.")
    assert missing is not None
    assert package in (missing.hint or "")
