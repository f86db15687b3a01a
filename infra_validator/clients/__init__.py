"""How a model server is asked."""
