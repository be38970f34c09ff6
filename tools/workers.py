"""Processes that work for another one and do not outlive it."""

import multiprocessing
import os
import threading


def end_with_parent() -> None:
    """Called in a process that `multiprocessing` started: it ends when the one that started it does, however that ends.

    It would work on otherwise, hold its memory and disturb what is done next.
    """
    threading.Thread(target=_wait_and_end, daemon=True).start()


def _wait_and_end() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
