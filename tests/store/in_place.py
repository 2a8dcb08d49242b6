"""What may stand in the place of a file."""

import os


def folder(path):
    path.unlink()
    path.mkdir()


def loop(path):
    path.unlink()
    path.symlink_to(path.name)


def dangling(path):
    path.unlink()
    path.symlink_to("/proc/nowhere")


def pipe(path):
    path.unlink()
    os.mkfifo(path)
