"""Rules: how one element of an operation's output came from the elements of its inputs."""
