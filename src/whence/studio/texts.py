"""Which texts of this machine a page may train on: no others than those named here."""

import stat
from collections.abc import Sequence
from pathlib import Path

from whence.data.texts.reading import files_in
from whence.data.texts.sources import BUILT_IN
from whence.errors import WhenceError, shell_word

MOST = 200  # texts that the page lists


class Texts:
    """The folder of runs and the texts that a page may read.

    These are the built-in ones, those in the folder's `texts` (where what comes from the page is
    kept), and what the person who started the studio allowed by name.

    Args:
        folder: the folder of runs.
        allowed: files, and folders with all that is in them.

    Raises:
        WhenceError: where something allowed isn't there.

    Example:
        >>> texts = Texts(Path("runs"))
        >>> texts.check(["topics"])
        >>> texts.check(["/etc/passwd"])
        Traceback (most recent call last):
        ...
        whence.errors.WhenceError: the page may not read '/etc/passwd': start the studio with --allow /etc/passwd, or choose a text from the list.
    """  # noqa: E501  # what it prints is one line

    def __init__(self, folder: Path, allowed: Sequence[Path] = ()):
        self.folder, self.allowed = folder, tuple(allowed)
        for path in self.allowed:
            if not (path.is_file() or path.is_dir()):
                raise WhenceError(f"--allow {path}: there is no such file or folder.")

    @property
    def kept(self) -> Path:
        """Where the texts of the page are."""
        return self.folder / "texts"

    def names(self) -> list[str]:
        """List the texts besides the built-in ones, as `check` takes them."""
        kept = sorted(self.kept.iterdir()) if self.kept.is_dir() else []
        found = [*self.allowed, *(p for p in kept if p.is_file() and not p.name.endswith(".tmp"))]
        return [path.as_posix() for path in found if self._may_read(path)][:MOST]

    def check(self, sources: Sequence[str]) -> None:
        """Refuse what the page may not read; a missing file gives the same error.

        Args:
            sources: as of `whence.data.open_source`.

        Raises:
            WhenceError: naming the first that may not be read.
        """
        for name in sources:
            if name not in BUILT_IN and not self._may_read(Path(name)):
                raise WhenceError(
                    f"the page may not read {name[:200]!r}: start the studio with --allow "
                    f"{shell_word(name[:200])}, or choose a text from the list."
                )

    def _may_read(self, path: Path) -> bool:
        try:
            real = path.resolve(strict=True)
            mode = real.stat().st_mode
            if not self._is_inside(real):
                return False
            if stat.S_ISDIR(mode):  # a link in it may lead anywhere
                return all(self._is_inside(file.resolve(strict=True)) for file in files_in(real))
        except (OSError, ValueError, RuntimeError):
            return False
        return stat.S_ISREG(mode)  # a pipe or a device may never end

    def _is_inside(self, real: Path) -> bool:
        places = [path.resolve() for path in self.allowed]
        if not self.kept.is_symlink():
            places.append(self.kept.resolve())
        return any(real.is_relative_to(place) for place in places)
