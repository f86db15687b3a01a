"""Where a model server runs."""
