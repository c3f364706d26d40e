"""From files to token ids on disk."""
