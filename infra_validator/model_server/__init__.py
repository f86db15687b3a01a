"""The embedded model server: answers as TensorFlow Serving's ``tensorflow_model_server`` does.

Started as a program of its own, ``python -m infra_validator.model_server``, and reached only over
gRPC. It runs the model through TensorFlow's public C API, without importing TensorFlow.
"""
