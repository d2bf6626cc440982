"""Settings of the Jupyter server of the course: `make lab` puts this folder on Jupyter's path.

The file beside it, labconfig/page_config.json, switches JupyterLab's news and update notices off.
"""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent / "scripts"))

from notebooks import without_live_state


def before_save(model, **_):
    """Keep the precomputed player, not the dead widget, in what a reader saves."""
    if model["type"] == "notebook" and model["content"]["nbformat"] == 4:
        without_live_state(model["content"])


c = get_config()  # noqa: F821 (Jupyter defines it)
c.ContentsManager.pre_save_hook = before_save
