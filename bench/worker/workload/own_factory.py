"""Call the user's factory for a plain module of its own, in eval mode.

make = ModuleFactory("shop.model:load", {"size": "large"})
make(seed)      # never one that it gave before, also where the factory keeps one
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, cast
from weakref import WeakValueDictionary

import torch

from bench.errors import BenchError
from bench.worker.workload.own_module import in_eval_mode, refuse_converted, without_history
from bench.worker.workload.users_code import (
    UsersFunction,
    called,
    kind_of,
    seed_all,
    setting_of,
)

if TYPE_CHECKING:
    from collections.abc import Mapping


class ModuleFactory:
    """The user's factory with its arguments.

    Raises (from the constructor):
        BenchError: the path names nothing that can be called.
    """

    def __init__(self, path: str, settings: Mapping[str, object]) -> None:
        self.path = path
        self._function = UsersFunction("--model", path)
        self._settings = settings
        self._returned: WeakValueDictionary[int, object] = WeakValueDictionary()
        """Modules and tensors that the factory has returned and that are still alive."""

    def __call__(self, seed: int) -> torch.nn.Module:
        """Return a module that no scenario has changed.

        Raises:
            BenchError: the factory failed, or returned no module, or one that is converted already.
        """
        seed_all(seed)
        made = self._function(**{n: setting_of(value) for n, value in self._settings.items()})
        if not isinstance(made, torch.nn.Module):
            raise BenchError(
                f"{self._function} returned {kind_of(made)}, not a torch.nn.Module: name a "
                "function or class that returns one"
            )
        refuse_converted(made, self.path)
        made = without_history(made)
        return in_eval_mode(self._copied(made) if self._is_kept(made) else made)

    def _is_kept(self, made: torch.nn.Module) -> bool:
        """Return whether the factory has returned the module, or a tensor of it, before."""
        parts = (made, *made.parameters(), *made.buffers())
        kept = any(self._returned.get(id(part)) is part for part in parts)
        self._returned.update((id(part), part) for part in parts)
        return kept

    def _copied(self, made: torch.nn.Module) -> torch.nn.Module:
        try:
            return cast("torch.nn.Module", called("--model", self.path, copy.deepcopy, made))
        except BenchError as error:
            raise BenchError(
                f"{self._function} returns weights that it has returned before, scenarios change "
                f"their weights, and a copy failed ({error}): make new ones at every call"
            ) from error
