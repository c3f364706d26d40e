"""Looking after runs: listing, tags, removal, repair and verification."""
