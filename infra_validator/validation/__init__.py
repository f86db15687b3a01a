"""Validates a model: runs the servers, waits, asks, judges. Knows no platform and no TFX."""
