"""Where the models of robots come from: MuJoCo Menagerie, as Playground fetches it, or a copy that the user names."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any, Final

from dynamic_sparsity.errors import MissingDependencyError

__all__ = ["VARIABLE", "provide"]

VARIABLE: Final = "DYNAMIC_SPARSITY_MENAGERIE"
"""Names a folder with a copy of MuJoCo Menagerie."""

_EXAMPLE: Final = "unitree_go1"
"""A folder that every copy has."""


def provide() -> Path:
    """Make sure that Playground has the robots' models, and return where they are.

    Raises:
        MissingDependencyError: They are not there and can't be fetched.
    """
    from etils import epath
    from mujoco_playground._src import mjx_env

    module: Any = mjx_env
    named = os.environ.get(VARIABLE)
    if named:
        folder = Path(named).expanduser()
        if not (folder / _EXAMPLE).is_dir():
            raise MissingDependencyError(
                f"{VARIABLE} is {named!r}, but that folder has no models of MuJoCo Menagerie (no {_EXAMPLE}): let it "
                "name a checkout of https://github.com/google-deepmind/mujoco_menagerie."
            )
        module.MENAGERIE_PATH = epath.Path(str(folder))
        return folder
    try:
        module.ensure_menagerie_exists()
    except (OSError, subprocess.CalledProcessError) as error:
        raise MissingDependencyError(
            f"The models of robots are those of MuJoCo Menagerie, which could not be fetched: {error} On a machine "
            f"with network, run `git clone https://github.com/google-deepmind/mujoco_menagerie` and `git "
            f"checkout {module.MENAGERIE_COMMIT_SHA}` in it, copy the folder here, and `export {VARIABLE}=FOLDER`."
        ) from error
    return Path(str(module.MENAGERIE_PATH))
