"""Commands that sort images and samples into classes."""
