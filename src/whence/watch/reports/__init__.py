"""What stood out, and the report of a crash."""
