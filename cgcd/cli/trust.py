"""What a config from elsewhere may build: our classes, torch's optimizers, stock views, plugins.

A run folder that somebody sent must not run code of its own choosing. So all interpolations are
resolved first, and the plain data that come out are what is checked and what is built. A name is
followed from an installed package to a class or function of that package, never through what a
module happens to have imported.
"""

from __future__ import annotations

import importlib
import inspect
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from cgcd.vocabulary import InputError

_TRUSTED = (
    "cgcd.",
    "scenarios.",
    "strategies.",
    "torch.optim.",
    "torchvision.transforms.",
    "avalanche.training.plugins.",
)
_ENTRANCES = ("cgcd.cli.", "cgcd.live.", "cgcd.__main__.")  # they build what a config names
_FUNCTIONS = ("scenarios.",)  # where configs name functions; elsewhere only classes are built
_PICKLE = "checkpoint_path"  # of timm's constructors, some of which unpickle the file
_PLAIN = (str, int, float, bool, type(None))


def resolved(config: Any, trust_code: bool) -> Any:
    """A config as plain data without interpolations, checked by `check_targets`.

    Raises:
        InputError: if an interpolation cannot be resolved, or a class is refused.
    """
    try:
        plain = OmegaConf.to_container(config, resolve=True)
    except OmegaConfBaseException as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"the stored config cannot be resolved ({reason})") from error
    check_targets(plain, trust_code)
    return plain


def check_targets(plain: Any, trust_code: bool) -> None:
    """Refuse plain data that came from elsewhere and name a class of a foreign package.

    Args:
        plain: as `resolved` gives them.
        trust_code: look at nothing.

    Raises:
        InputError: naming the class.
    """
    if trust_code:
        return
    if isinstance(plain, dict):
        if "_target_" in plain:
            _check_target(plain["_target_"])
        if plain.get(_PICKLE) is not None:
            _refuse(f"{_PICKLE}={plain[_PICKLE]}")
        for key, value in plain.items():
            check_targets(key, trust_code)
            check_targets(value, trust_code)
    elif isinstance(plain, list):
        for value in plain:
            check_targets(value, trust_code)
    elif not isinstance(plain, _PLAIN) or (isinstance(plain, str) and "${" in plain):
        _refuse(plain)  # building it would resolve it once more


def _check_target(target: Any) -> None:
    name = str(target)
    if not name.startswith(_TRUSTED) or f"{name}.".startswith(_ENTRANCES):
        _refuse(name)
    module, _, attribute = name.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError):  # also what lies behind a name that is no module
        _refuse(name)
    home = f"{getattr(found, '__module__', None)}."
    is_own = home.startswith(_TRUSTED) and not home.startswith(_ENTRANCES)
    wanted = inspect.isclass(found) or (inspect.isfunction(found) and home.startswith(_FUNCTIONS))
    if not (is_own and wanted):
        _refuse(name)


def _refuse(name: Any) -> None:
    raise InputError(
        f"the stored config names {name}, which is none of ours; look at it, then open the run "
        "with trust_code=True"
    )
