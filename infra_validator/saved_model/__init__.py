"""What a SavedModel says of itself, read without running it."""
