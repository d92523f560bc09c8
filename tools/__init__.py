"""What builds the book from its sources, and keeps generated files in step with them."""
