"""Models come and go: other programs' files in and out, and a server that speaks their language."""
