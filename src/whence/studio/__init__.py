"""The studio: questions answered by the library, drawn in a page, a notebook or a file."""
