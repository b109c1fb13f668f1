"""The columns of a run's files, which other people's scripts rely on."""

from __future__ import annotations

from bench.store.records import ScenarioRow
from bench.store.rows import columns


def test_every_scenario_column_of_the_design_is_there() -> None:
    """Later versions may add columns, and take none away."""
    promised = (
        "run_id scenario task backend mode fusion dtype layout batch_size environment threads "
        "status reason rounds median_ms p90_ms p99_ms images_per_s prepare_s first_call_ms "
        "warmup_iterations peak_rss_mb gflop_per_s percent_of_peak native_dtype isa fused_ops"
    )
    assert set(promised.split()) <= {column.name for column in columns(ScenarioRow)}
