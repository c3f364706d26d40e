"""The server that answers as OpenAI's API does: engine, fields, replies, app."""
