"""pytest makes its folders for the user who runs it alone; some tests become other users."""

import tempfile
from pathlib import Path


def reachable(path: Path) -> None:
    """Let every user enter and list `path` and the folders above it, below the folder for temporary files."""
    temporary = Path(tempfile.gettempdir())
    for folder in (path, *path.parents):
        if folder.is_relative_to(temporary) and folder != temporary:
            folder.chmod(folder.stat().st_mode | 0o055)
