"""Models that can only be used by running their code: in a process of its own, if the user says so.

Such a process keeps memscan alive when the code crashes or hangs, and keeps its memory clean. It
is no sandbox: the code has all the rights of the user.
"""
