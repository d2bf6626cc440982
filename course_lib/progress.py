"""A progress bar where somebody watches, and silence elsewhere."""

from __future__ import annotations

from typing import Any

from tqdm import tqdm


def progress_bar(steps: int, progress: bool | None = None, done: int = 0) -> tqdm[Any]:
    """A bar for ``steps`` steps; ``progress`` None: only in a terminal or a notebook.

    ``done`` steps lie behind already; the rate counts only what comes.
    """
    if in_notebook() and progress is not False:
        return _NotebookBar(
            total=steps, initial=done, unit=" steps", mininterval=0.5, dynamic_ncols=False
        )
    hidden = None if progress is None else not progress  # None: hidden unless a terminal
    return tqdm(total=steps, initial=done, unit=" steps", disable=hidden)


def in_notebook() -> bool:
    """Is this code running in a Jupyter kernel?"""
    try:
        from IPython import get_ipython
    except ImportError:
        return False
    return getattr(get_ipython(), "kernel", None) is not None


class _NotebookBar(tqdm):
    """tqdm's text bar in one notebook output that is updated in place.

    tqdm's own notebook bar is a widget, which is lost when the notebook is saved or shown on a
    static page; a line of text stays.
    """

    disable: bool

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        from IPython.display import display

        self._handle = display({"text/plain": ""}, raw=True, display_id=True)
        super().__init__(*args, **kwargs)

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        self._handle.update({"text/plain": str(self) if msg is None else msg}, raw=True)

    def close(self) -> None:
        if not self.disable:
            self.display()
            self.disable = True
