"""Readers of files that hold networks' weights."""


class BrokenFile(Exception):
    """A file is not what its reader admits: damaged, of another format, made to run something, or of layers that make no
    network. The message is for whoever put the file there.
    """
