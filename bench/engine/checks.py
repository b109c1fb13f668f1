"""Let an experiment look beside the times, in steps that the engine calls."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.engine.execution import Execution
    from bench.engine.participants import Participant
    from bench.errors import WorkerError
    from bench.worker.protocol import Hello


class Checks:
    """The steps of a launch, in order, at which an experiment may look; by default it does nothing.

    A step leaves its participant out by raising a `RefusalError`.
    """

    def starts_alone(self, _participant: Participant) -> bool:
        """Return whether its worker starts alone, since the time of its start is a result."""
        return False

    def after_greeting(self, participant: Participant, hello: Hello) -> None:
        """A fresh worker has introduced itself."""

    def after_start(self, execution: Execution) -> None:
        """The participant has a live worker."""

    def after_prepare(self, execution: Execution) -> None:
        """The model is set up; no call was made yet."""

    def after_first_call(self, execution: Execution, base: Execution | None) -> None:
        """The first call was made, and so was that of the group's base."""

    def before_warm_up(self, execution: Execution) -> None:
        """Warming up starts next."""

    def without_steady_state(self, _execution: Execution) -> bool:
        """Return whether an event should report that it reached no steady state."""
        return True

    def after_warm_up(self, execution: Execution) -> None:
        """The participant is warm, and its conditions were read."""

    def after_first_warm_up(self, execution: Execution) -> None:
        """The participant is warm for the first time in this experiment."""

    def on_differences(self, execution: Execution, sentences: Sequence[str]) -> None:
        """The participant's conditions differ from its base's, or changed during the launch."""

    def after_block(self, execution: Execution, block_ms: float) -> None:
        """A block was timed, whose median call took `block_ms`; the next block follows."""

    def after_rounds(self, execution: Execution) -> None:
        """The rounds are over and the model is still loaded."""

    def on_failure(self, participant: Participant, launch: int, error: WorkerError) -> None:
        """The participant takes no further part."""
