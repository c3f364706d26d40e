"""The one kind of error that a person is meant to read."""


class WhenceError(Exception):
    """Bad input, told in one sentence: what is wrong, where, and what to do.

    The command line prints the sentence and exits with code 2; from Python it is raised as it is.

    Example:
        >>> raise WhenceError("notes.txt is empty: give a file with text in it.")
        Traceback (most recent call last):
        ...
        whence.errors.WhenceError: notes.txt is empty: give a file with text in it.
    """
