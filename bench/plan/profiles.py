"""Define the profiles: how much a run measures, and for how long."""

from __future__ import annotations

from dataclasses import dataclass

from bench.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Profile:
    """How much to measure.

    Rounds are per launch. A batch size whose call takes longer than `Policy.max_call_s` is replaced
    by the largest power of two that does not.
    """

    name: str
    batch_sizes: tuple[int, ...]
    training_batch_size: int
    launches: int
    """Of a study; a run gives each scenario the processes that its claims need."""
    min_rounds: int
    max_rounds: int
    budget_s: float
    processes: int = 1
    """Fewest processes of each scenario of a run, if the budget allows."""
    whole_matrix: bool = True
    """False keeps at least one scenario of each kind."""
    vary: tuple[str, ...] = ()
    """Variables (`bench.plan.variables`) that are varied by default."""
    parity_s: float = 1.0
    """Seconds of images on which a scenario's outputs are compared."""
    recommended_parity_s: float = 0.0
    """The same for the fastest at inference, before it is recommended; 0 to skip that."""
    int8: bool = False
    """Whether int8 is measured too: calibrating and compiling take half a minute a scenario."""
    compiles_last: bool = False
    """Whether what compiles waits until every batch size had its first visit, in the workers of the
    first one: in a small run starting and compiling take longer than measuring."""
    eager_last: bool = False
    """Whether eager ways other than stock default wait as well, where TorchScript may run."""
    variants: bool = False
    """Whether fp16, further options of compile, compiled training, and aot at every batch size are
    measured too."""


PROFILES = {
    profile.name: profile
    for profile in (
        Profile(
            name="smoke",
            batch_sizes=(1, 4),
            training_batch_size=1,
            launches=2,
            min_rounds=3,
            max_rounds=24,
            budget_s=205,
            whole_matrix=False,
            parity_s=2.0,  # nothing compares the leader on more
            compiles_last=True,
        ),
        Profile(
            name="standard",
            batch_sizes=(1, 8, 32),
            training_batch_size=8,
            launches=3,
            min_rounds=3,
            max_rounds=60,
            budget_s=900,
            vary=("heap",),
            recommended_parity_s=60,
            int8=True,
        ),
        Profile(
            name="suite",
            batch_sizes=(1, 4),
            training_batch_size=1,
            launches=2,
            min_rounds=3,
            max_rounds=24,
            budget_s=100,
            compiles_last=True,
            eager_last=True,
        ),
        Profile(
            name="full",
            batch_sizes=(1, 2, 4, 8, 16, 32, 64, 128),
            training_batch_size=8,
            launches=5,
            min_rounds=4,
            max_rounds=120,
            budget_s=4 * 3600,
            processes=5,
            vary=("heap", "isa"),
            parity_s=60,
            int8=True,
            variants=True,
        ),
    )
}


def profile_named(name: str) -> Profile:
    """Return the profile of that name.

    Raises:
        UsageError: there is none.
    """
    if name not in PROFILES:
        raise UsageError(f"there is no profile {name!r}: choose one of {', '.join(PROFILES)}")
    return PROFILES[name]
