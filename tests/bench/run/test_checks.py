"""What a run looks at in a launch: all of it once, later what is needed."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from bench.errors import BenchError
from bench.plan.profiles import PROFILES
from bench.run import resume
from bench.store import records
from tests.bench.run.runs import (
    ALL_1,
    BF16_1,
    DEFAULT_1,
    IPEX_1,
    IPEX_4,
    LAST_1,
    SCRIPT_1,
    SMOKE,
    TWICE,
    Build,
    rows_of,
    speedup_of,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bench.plan.scenario import Scenario
    from bench.run.runner import Runner


def warm_up_calls(runner: Runner, scenario: Scenario, launch: int) -> int:
    """Warm-up calls before the rounds."""
    return sum(
        row.scenario == scenario.id
        and row.launch == launch
        and row.phase == "warmup"
        and row.round is None
        for row in runner.state.iterations
    )


def test_the_calls_that_outputs_take_are_warm_up(run: Build, backend: Any) -> None:
    """20 images of 100 ms are rows like any other, and steady without a further call."""
    runner = run(*ALL_1)
    assert backend.asked[IPEX_1.id, "outputs"] == 1
    assert warm_up_calls(runner, IPEX_1, 0) in (19, 20)


def test_a_profile_says_how_long_outputs_are_compared(run: Build, backend: Any) -> None:
    """Twice as long, twice as many images; `full` takes a minute, as the documentation says."""
    runner = run(*ALL_1, profile=replace(TWICE, parity_s=4.0))
    assert warm_up_calls(runner, IPEX_1, 0) in (39, 40)
    assert PROFILES["full"].parity_s == 60


def test_no_image_is_computed_that_stock_default_did_not(run: Build, backend: Any) -> None:
    """Only images of both can be compared, so a faster scenario does not use its whole time."""
    backend.call_ms = {IPEX_1.id: 10.0}
    runner = run(*ALL_1)
    images = warm_up_calls(runner, DEFAULT_1, 0)
    assert images in (19, 20)
    assert warm_up_calls(runner, IPEX_1, 0) == images


def test_the_best_is_compared_for_a_minute(run: Build, backend: Any) -> None:
    """In fresh processes of it and of stock default; one that decides otherwise is refused."""
    backend.call_ms = {IPEX_1.id: 50.0, SCRIPT_1.id: 70.0}
    asked: dict[str, list[float]] = {}

    def look(worker: Any, fields: dict[str, Any]) -> None:
        asked.setdefault(worker.scenario.id, []).append(fields["within_s"])
        wrong = worker.scenario.id == IPEX_1.id and fields["within_s"] > TWICE.parity_s
        backend.output_offset[worker.scenario.id] = 0.4 if wrong else 0.0

    for scenario in ALL_1:
        backend.faults[scenario.id, "outputs"] = look
    profile = replace(TWICE, processes=1, recommended_parity_s=60.0)
    runner = run(*ALL_1, profile=profile, peak={})
    assert asked[IPEX_1.id] == asked[SCRIPT_1.id] == [2.0, 60.0]  # the next best takes its place
    assert asked[LAST_1.id] == [2.0]
    assert asked[DEFAULT_1.id][:2] == [2.0, 60.0]
    rows = rows_of(runner)
    assert (rows[IPEX_1.id].status, rows[SCRIPT_1.id].status) == ("wrong_output", "ok")


def test_how_long_it_took_to_settle_does_not_include_them(run: Build, backend: Any) -> None:
    """A user waits for eleven level calls, however many the outputs took."""
    runner = run(*ALL_1)
    rows = rows_of(runner)
    assert rows[IPEX_1.id].warmup_iterations == 11


def test_a_later_launch_does_not_find_out_again_what_is_known(run: Build, backend: Any) -> None:
    """Two calls, where the first launch showed that it was level from the start."""
    runner = run(*ALL_1)
    assert {warm_up_calls(runner, scenario, 1) for scenario in ALL_1} == {2}


def test_a_scenario_far_too_slow_for_the_budget_is_left_out(run: Build, backend: Any) -> None:
    """Its first call and one more, and the others have the budget; a slow compilation is none."""
    backend.call_ms = {SCRIPT_1.id: 20_000.0}

    def compiles(_worker: Any, fields: Any) -> dict[str, Any] | None:
        if fields["phase"] != "first_call":
            return None
        backend.clock.spend(60.0)
        return {"wall_ns": [60_000_000_000], "cpu_ns": [60_000_000_000], "invalid": None}

    backend.faults[IPEX_1.id, "call"] = compiles
    runner = run(*ALL_1, budget_s=235.0)
    rows = rows_of(runner)
    assert (rows[SCRIPT_1.id].status, rows[IPEX_1.id].status) == ("unavailable", "ok")
    assert "one call takes 20 s, and a scenario may use 25 % of the budget" in (
        rows[SCRIPT_1.id].reason or ""
    )
    assert sum(row.scenario == SCRIPT_1.id for row in runner.state.iterations) == 2
    assert rows[LAST_1.id].status == "ok"


def test_a_slow_stock_default_is_measured_however_slow(run: Build, backend: Any) -> None:
    """Without it there is nothing to compare with."""
    backend.call_ms = {DEFAULT_1.id: 20_000.0}
    runner = run(DEFAULT_1, LAST_1, budget_s=60.0)
    rows = rows_of(runner)
    assert rows[DEFAULT_1.id].status in ("ok", "no_steady_state")
    assert rows[DEFAULT_1.id].rounds >= TWICE.min_rounds


def test_slow_calls_need_one_more_only(run: Build, backend: Any) -> None:
    """Except TorchScript's, whose graph is final after the third."""
    backend.default_ms = 300.0
    runner = run(*ALL_1)
    assert warm_up_calls(runner, LAST_1, 1) == 1
    assert warm_up_calls(runner, SCRIPT_1, 1) == 2


def test_a_backends_first_worker_gives_the_import_time(run: Build, backend: Any) -> None:
    """Two imports side by side take longer than one; the figure shown is that of one."""
    together: list[int] = []
    waiting: list[Any] = []
    imports = iter([1.0, 4.0, 2.0, 2.0, 2.0])

    def launch(key: Scenario, control: bool, number: int) -> Any:
        worker = backend.launch(key, control, number)
        if number == 0:
            waiting.append(worker)
            worker.greet = greet
        return worker

    def greet(_: float) -> dict[str, Any]:
        if waiting:
            together.append(len(waiting))
            waiting.clear()
        conditions = {"threads": 2, "allocator": "glibc", "openmp": ["libgomp.so.1"]}
        return {"ok": True, "hello": {"import_s": next(imports), "conditions": conditions}}

    runner = run(*ALL_1, starts_at_once=2, launch=launch)
    assert together == [1, 1, 2, 1]  # stock, IPEX, then the rest and the control
    rows = {name: row.import_s for name, row in rows_of(runner).items()}
    assert rows == {DEFAULT_1.id: 1.0, IPEX_1.id: 4.0, LAST_1.id: 1.0, SCRIPT_1.id: 1.0}


def test_models_are_set_up_side_by_side_once_their_cost_is_known(run: Build, backend: Any) -> None:
    """The first launch one by one, for `prepare_s` is shown; what is measured is the same."""
    runner = run(*ALL_1, starts_at_once=2)
    assert runner.complete
    rows = rows_of(runner).values()
    assert {row.status for row in rows} == {"ok"}
    assert min(row.launches for row in rows) >= 2


def test_first_calls_are_side_by_side_once_their_cost_is_known(run: Build, backend: Any) -> None:
    """Compiling keeps one core busy; what a cold one takes is a result, and taken alone."""
    threads: dict[bool, set[bool]] = {False: set(), True: set()}

    def watched(_: Any, fields: dict[str, Any]) -> None:
        if fields["phase"] == "first_call":
            later = backend.asked[IPEX_1.id, "prepare"] > 1
            threads[later].add(threading.current_thread() is threading.main_thread())

    backend.faults[IPEX_1.id, "call"] = watched
    runner = run(*ALL_1, starts_at_once=2)
    assert threads == {False: {True}, True: {False}}
    first = [row for row in runner.state.iterations if row.phase == "first_call"]
    names = {(row.scenario, row.launch) for row in first}
    assert len(names) == len(first)


def test_wrong_outputs_are_not_timed(run: Build, backend: Any) -> None:
    """A scenario that computes something else is no faster way of computing this."""
    backend.output_offset[IPEX_1.id] = 0.05
    runner = run(DEFAULT_1, IPEX_1, profile=SMOKE)
    row = rows_of(runner)[IPEX_1.id]
    assert (row.status, row.rounds) == ("wrong_output", 0)
    assert "0.05" in (row.reason or "")
    assert speedup_of(runner, IPEX_1).verdict == "invalid"


def test_a_label_that_the_evidence_contradicts_does_not_count(run: Build, backend: Any) -> None:
    """`fusion on` without fused operations is no result for fusion."""
    found = {"kernels": [], "fused_ops": 0, "isa": None, "contradiction": "nothing was fused"}
    backend.faults[IPEX_1.id, "kernels"] = lambda *_: found
    row = rows_of(run(DEFAULT_1, IPEX_1, IPEX_4, profile=SMOKE))[IPEX_1.id]
    assert row.status == "unsupported"
    assert "nothing was fused" in (row.reason or "")


@pytest.mark.parametrize(("rounding", "status"), [(0.0, "unsupported"), (1e-3, "ok")])
def test_a_dtype_that_changes_no_bit_was_not_run(
    run: Build, backend: Any, rounding: float, status: str
) -> None:
    """Autocast leaves operators that it does not know in fp32, whatever the label says."""

    def write(worker: Any, fields: Mapping[str, Any]) -> dict[str, Any]:
        numbers = np.linspace(1, 2, 9) + (rounding if worker.scenario == BF16_1 else 0)
        np.savez(fields["path"], output_0=numbers, images=1, trained=False)
        times = backend.times(worker, 1)
        return {"images": 1, "trained": False, "wall_ns": times, "cpu_ns": times}

    backend.faults |= {(one.id, "outputs"): write for one in (DEFAULT_1, BF16_1)}
    row = rows_of(run(DEFAULT_1, BF16_1, profile=SMOKE))[BF16_1.id]
    assert row.status == status
    assert ("bit for bit" in (row.reason or "")) == (status == "unsupported")


@pytest.mark.parametrize("key", ["sha256", "weights_sha256"])
def test_images_or_a_model_file_that_changed_end_the_run(
    build: Build, backend: Any, key: str
) -> None:
    """One file has answers about one set of images; what was measured before is kept."""
    began_with = {"source": "folder", "root": "pills", "sha256": "1", "weights_sha256": "2"}
    backend.data = dict(began_with)
    runner = build(DEFAULT_1, IPEX_1, data=began_with)  # its second processes start later

    def replace_it(worker: Any, fields: Mapping[str, Any]) -> dict[str, Any]:
        backend.data[key] = "3"
        answer: dict[str, Any] = worker.answer_call(**fields)
        return answer

    backend.faults[DEFAULT_1.id, "call"] = replace_it
    with pytest.raises(BenchError, match="changed after the run began"):
        runner.measure()
    assert records.read_run(runner.folder).iterations
    assert not runner.complete


def test_random_inputs_of_a_users_model_may_change(build: Build, backend: Any) -> None:
    """Each process draws its own; so may a run that an earlier version began."""
    backend.data = {"source": "given", "sha256": "2"}
    build(DEFAULT_1, profile=SMOKE, data={"source": "given", "sha256": "1"}).measure()
    backend.data = {"source": "folder", "sha256": "1", "weights_sha256": "2"}
    build(DEFAULT_1, profile=SMOKE, data={"source": "folder", "sha256": "1"}).measure()


def test_a_row_carries_its_evidence_and_memory(run: Build, backend: Any) -> None:
    """Reorders, their share, the graph's own count and idle memory come from the worker."""

    def seen(worker: Any, _fields: Any) -> dict[str, Any]:
        found: dict[str, Any] = worker.answer_kernels()
        reorder = {**found["kernels"][0], "position": 1, "primitive": "reorder"}
        graph = {"nodes": {"ipex_prepack::convolution_relu_run": 13}, "reorder_share": 0.25}
        return {**found, "kernels": [*found["kernels"], reorder], "graph": graph}

    backend.faults[IPEX_1.id, "kernels"] = seen
    runner = run(DEFAULT_1, IPEX_1, profile=SMOKE)
    files = records.read_run(runner.folder)
    restored = resume.restore(files, runner.scenarios).outcomes[IPEX_1.id].row("run", [], {})
    for row in (rows_of(runner)[IPEX_1.id], restored):
        assert (row.reorders, row.reorder_share) == (1, 0.25)
        assert row.graph == "ipex_prepack::convolution_relu_run=13"
        assert row.steady_rss_mb == 500.0
    assert rows_of(runner)[IPEX_1.id].page_faults == 6240
    parity = {one.scenario: one for one in files.parity}
    assert parity[IPEX_1.id].recall_bad_default == parity[IPEX_1.id].recall_bad == 1.0


def test_reduced_arithmetic_is_compared_as_bf16_is(run: Build, backend: Any) -> None:
    """The same error under the plain label is a wrong output."""
    reduced = replace(LAST_1, options=("fpmath=bf16",))
    backend.output_offset = {reduced.id: 0.01, SCRIPT_1.id: 0.01}
    rows = rows_of(run(DEFAULT_1, SCRIPT_1, reduced))
    assert (rows[SCRIPT_1.id].status, rows[reduced.id].status) == ("wrong_output", "ok")
