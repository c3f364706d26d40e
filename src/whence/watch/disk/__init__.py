"""The record of a watched loop, and steps kept on the disk."""
