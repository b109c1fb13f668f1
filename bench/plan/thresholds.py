"""Every threshold of the harness, in one place, each with its reason.

Code paths take these as values and never carry a number of their own. Sources are named where the
number is not our own measurement; docs/method.md tells the whole procedure.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, kw_only=True)
class SteadyStatePolicy:
    """When a scenario counts as warmed up."""

    window: int = 5
    """Calls per window; two consecutive windows are compared (after Traini et al., EMSE 2023)."""
    max_median_change: float = 0.02
    """Medians of the two windows may differ by this share."""
    max_slope: float = 0.005
    """Theil-Sen slope over both windows, as a share of the median per call."""
    confirmations: int = 2
    """So many times in a row, because one quiet pair of windows happens by chance."""
    slow_call_ms: float = 120.0
    """From here on the shorter rule below: sixteen workers a launch with eleven calls each would be
    most of the budget, and a call this long averages what a window of short ones would."""
    slow_window: int = 1
    slow_max_median_change: float = 0.05
    """Single calls vary more than medians of five."""
    later_calls: int = 2
    """Warm-up calls of a later launch, beyond those before an earlier launch got level: what a
    fresh process needs anyway (TorchScript's final graph exists after three calls, the first among
    them). That it gets level is known; each launch's own rounds show if it did not."""
    later_slow_calls: int = 1
    """The same for calls over `slow_call_ms`, TorchScript's apart: such a call touches all memory
    that the next one will."""
    max_calls: int = 60
    """Cap; a scenario that reaches it is measured all the same and flagged `no_steady_state`."""
    max_seconds: float = 8.0
    """Cap in time: on a noisy machine, waiting for quiet would be all of the budget."""


@dataclass(frozen=True, kw_only=True)
class ModelPolicy:
    """How the model of a run estimates variances (`bench.analysis.model`)."""

    error_prior_dof: float = 4.0
    """A participant's error variance is moderated towards its group's as if that were known from so
    many rounds: enough to steady a participant of three rounds, little beside one of fifteen."""
    class_prior_dof: float = 16.0
    """The variance between processes of a class of participants (one group's, say) is moderated
    towards the whole run's as if that were known from so many processes: about what a group of
    twenty participants with two processes each has of its own."""
    participant_prior_dof: float = field(default=4.0, metadata={"also": ("lane_prior_dof",)})
    """A participant whose own processes vary more moves up from its class's variance, moderated as
    if that were known from so many processes."""
    own_variance_dof: float = 2.5
    """A participant that is plainly unlike the others stands for itself, with its own variance
    alone, from so many degrees of freedom on (four processes): with fewer its interval would say
    nothing."""
    process_sd_floor: float = 0.005
    """Processes are taken to differ by this standard deviation at least ..."""
    floor_dof: float = 2.0
    """... as if that had been seen in so many degrees of freedom: what a run shows of its own
    processes soon outweighs it."""
    assumed_process_sd: float = 0.015
    """The standard deviation between processes that is assumed while a run has shown little of its
    own: near the upper end of what a default run showed (0.8 %, at most 1.7 %)."""
    assumed_dof: float = 6.0
    """It counts as if it had been seen in as many degrees of freedom as the run lacks to these, so
    that one repeated group of three scenarios does not give intervals wider than none does."""


@dataclass(frozen=True, kw_only=True)
class VerdictPolicy:
    """When a difference may be called one."""

    minimal_effect: float = 0.005
    """The whole interval must lie beyond this for `faster` or `slower`. It is no tolerance for
    noise, which the interval holds: it keeps what no user would notice from being a result."""
    same_within: float = 0.03
    """The whole interval must lie within this for `same`: less is not worth a decision."""
    confidence: float = 0.95
    """Of each comparison's interval."""
    headline_error: float = 0.05
    """The chance that any headline of a run is wrong: all of them share it (Bonferroni)."""
    check_error: float = 0.001
    """Two identical workers that differ at this level refute the model in their group. A default
    run has five groups: this happens to one sound run in two hundred."""
    min_rounds: int = 3
    """Fewer paired rounds, or clean blocks, give no verdict."""
    max_disturbed_gap: float = 0.25
    """Disturbed blocks do not count, so two participants must have lost about the same share of
    theirs: half of what one round in two would be."""


@dataclass(frozen=True, kw_only=True)
class NoisePolicy:
    """When a round counts as quiet, and when a block as disturbed."""

    max_cpu_pressure: float = 0.20
    """`some` pressure of a quiet run stays below this; a competing job reads above .5."""
    max_steal: float = 0.05
    max_throttled: float = 0.01
    """A quota that carries the threads stops none; one that does not stops them every 0.1 s."""
    max_probe_ratio: float = 1.25
    """The calibrated probe ran this much slower than the run's median probe."""
    max_repeats: int = 2
    """A block that other work disturbed is measured again so often: beside bursts of a second two
    tries find a quiet moment in most rounds, and more would take the time of other scenarios."""
    idle_wait_s: float = 2.0
    """After a disturbed block, wait at most so long for idle CPUs: the longest burst of a neighbour
    that compiles or answers requests, about."""
    min_cpu_share: float = 0.95
    """Of a scenario's CPU time per wall time in its least disturbed blocks. A block with less, in a
    round in which the kernel saw other work, was disturbed; clean blocks stay within 3 %."""


@dataclass(frozen=True, kw_only=True)
class BlockPolicy:
    """How long one turn of one scenario lasts."""

    min_block_ms: float = 100.0
    """At least this much timed work, and no more than needed: what drifts does so between turns,
    so the same seconds spent on more and shorter rounds should give a narrower interval:
    `tests/microbench/against.py plain` measures that against long blocks."""
    min_calls: int = 1
    max_calls: int = 50
    settle_calls: int = 1
    """Calls discarded at the start of a block: threads and caches were cold while others ran."""
    settle_below_ms: float = 250.0
    """Slower calls outlast the cold start by far and are not discarded. Asked of a group's median
    participant and decided for all its participants alike, or the cold start would count for some
    only."""


@dataclass(frozen=True, kw_only=True)
class ParityTolerance:
    """How far outputs may lie from the stock default's, per dtype, and why.

    The errors are of class probabilities, which lie in 0..1.
    """

    fp32: float = 1e-3
    """Another order of summation, nothing else."""
    bf16: float = 5e-2
    """8 bits of mantissa through 13 convolutions."""
    int8: float = 1.5e-1
    """7 bits per tensor, calibrated."""
    map_factor: float = 10.0
    """Maps are scaled by their own maximum, which magnifies an error by as much."""
    max_map_error: float = 0.5
    """Whatever the dtype: a map in 0..1 that is off by half somewhere shows another defect."""
    training_loss: float = 1e-2
    """Relative difference of the first steps' losses in fp32, from the same start and batches."""
    training_loss_bf16: float = 3e-2
    """Ten times what bf16 shows; an optimiser that never steps would be off by more."""


@dataclass(frozen=True, kw_only=True)
class PlausibilityPolicy:
    """From where on a claim is refuted by physics."""

    peak_tolerance: float = 0.10
    """The peak is that of large library calls, which a convolution with all its data in the cache
    passes by a few percent (104 % seen), and that of short tries on a drifting machine."""


@dataclass(frozen=True, kw_only=True)
class BudgetPolicy:
    """How the measuring time is shared out."""

    emulated_rounds: int = 3
    """Rounds a launch for an emulated dtype that is slow: one launch gives a verdict then, and a
    few rounds settle it."""
    emulated_slow: float = 2.0
    """Times stock default's call, from where on an emulated dtype is slow. bf16 without AVX-512 is
    eight times slower, int8 without VNNI twice as fast: that one stands in every round."""
    emulated_share: float = 0.25
    """Emulated scenarios may use this share of the budget; beyond it they keep the launches that
    they have had."""
    one_scenario_share: float = 0.25
    """A scenario whose least number of calls would take more than this is left out."""
    least_calls: int = 16
    """Of a scenario in a first launch: to settle, eight images to compare, warm-up, rounds."""
    never_slow_s: float = 5.0
    """A call shorter than this is never too long, however small the budget is."""
    first_rounds_share: float = 0.3
    """Of the time that opening its workers took, what the rounds of a first visit may take beyond
    their least number: there they are cheap beside what was spent on being able to measure."""
    leading_share: float = 0.45
    """Of the budget, what the first comparison group may use before the others had their turn."""
    others_share: float = 0.25
    """Of the budget, what is kept at most for scenarios that no claim rests on."""
    most_rounds: int = 20
    """Of a process in a further visit: while few processes were seen, how much they differ is
    known too badly to spend a minute on one of them."""
    wave: int = 6
    """A group with more new scenarios than this has those that compile in a visit of their own, so
    that the others need not wait for the compiler."""
    race_confidence: float = 0.997
    """A scenario that is shown to be slower at this level (three standard errors) at the first
    batch size is no contender at a further one."""
    rivals: int = 3
    """Contenders of a claim that are measured beside its two leaders in a further visit."""
    most_in_visit: int = 8
    """Scenarios of a further visit, of several claims together: more make its rounds long, and a
    round is only paired while the machine does not change within it."""
    most_processes: int = 20
    """What is open although both of its scenarios had so many stays open: no budget of minutes
    will decide it."""
    early_error_share: float = 0.2
    """Before the end a claim counts as decided only at this share of its error: every look is a
    chance to be wrong. Five such looks spend what the last one may."""
    warm_compile_share: float = 0.4
    """Of a cold compilation, what loading it from Inductor's cache takes in a later launch: for
    planning only, corrected by what the launch then took."""
    free_memory_share: float = 0.85
    """A run's workers together stay below this share of the memory that is free, of the machine or
    of the control group, whichever has less: 64 GiB measure batch 32, and 4 GiB are not killed."""


@dataclass(frozen=True, kw_only=True)
class Policy:
    """All thresholds together."""

    steady_state: SteadyStatePolicy = field(default_factory=SteadyStatePolicy)
    model: ModelPolicy = field(default_factory=ModelPolicy)
    verdict: VerdictPolicy = field(default_factory=VerdictPolicy)
    noise: NoisePolicy = field(default_factory=NoisePolicy)
    block: BlockPolicy = field(default_factory=BlockPolicy)
    parity: ParityTolerance = field(default_factory=ParityTolerance)
    plausibility: PlausibilityPolicy = field(default_factory=PlausibilityPolicy)
    budget: BudgetPolicy = field(default_factory=BudgetPolicy)
    order_seed: int = 20_251_124
    """Of the order of participants within rounds."""
    max_call_s: float = 2.0
    """A batch size whose stock call takes longer is left out: throughput has long saturated."""
    call_timeout_s: float = 180.0
    """A call that takes longer is a hang."""
    start_timeout_s: float = 120.0
    """Importing torch and IPEX takes seconds, on a cold disk tens of them."""
    prepare_timeout_s: float = 300.0
    """Compilation may take a minute on two cores."""


@dataclass(frozen=True, kw_only=True)
class SelfcheckPolicy:
    """How `bench selfcheck` tries the harness, and what it is held to."""

    image_size: int = 64
    """Small inputs, about 15 ms a call on two cores: two hundred comparisons in half an hour."""
    full_size: int = 224
    min_block_ms: float = 100.0
    """The shortest block that may be: seven small calls. A run's 300 ms are for calls as long."""
    max_rounds: int = 12
    """Per launch, where a run may take more until it is precise: harder for the verdicts."""
    shares: tuple[float, ...] = (0.03, 0.05, 0.10)
    """Planted slowdowns."""
    burst_s: tuple[float, float] = (0.2, 2.0)
    """Shortest and longest burst of the second process: from about a block to about a round."""
    max_wrong_share: float = 0.01
    """Of identical scenarios. A run has some fifty verdicts: at 1 %, one is wrong every other run
    unless the surprising ones are confirmed."""
    found_at_least: Mapping[float, float] = field(default_factory=lambda: {0.05: 0.9, 0.10: 1.0})
    """Share of the planted slowdowns that must be found; 3 % is measured and nothing promised."""
    max_parent_cpu_share: float = 0.01
    min_measuring_share: float = 0.80
    max_missed_share: float = 0.25
    """Of the variance between fresh processes, what cheaper ones may miss by the upper bound: then
    intervals are an eighth too narrow at most."""


@dataclass(frozen=True, kw_only=True)
class StudyPolicy:
    """How the studies measure: what is theirs beside a run's own thresholds."""

    budget_share: float = 1 / 3
    """Of a run's budget: a study asks less than a run does."""
    stage_images: Mapping[str, int] = field(
        default_factory=lambda: {"smoke": 4, "standard": 8, "full": 16}
    )
    """Images a turn from disk to decision: the same ones for every backend, others next round."""
    instances_block_s: float = 2.0
    """Long against a call of some 100 ms and against the moment in which instances start."""
    load_shares: tuple[float, ...] = (0.5, 0.75, 1.0)
    """Rates as shares of what stock default manages at best, so that all ways see the same
    arrivals: from half idle to all that it can do, where its queue only grows. Few, because at a
    low rate most of the time is waiting for requests."""
    load_requests: Mapping[str, int] = field(
        default_factory=lambda: {"smoke": 36, "standard": 54, "full": 60}
    )
    """Requests a rate in one turn: the fewest rounds of one launch then have the hundred that p99
    needs, so that no budget leaves the study without its answer."""
    load_bound_calls: float = 5.0
    """Latency bound where none is named: so many of stock default's own calls. With a fixed call
    time and Poisson arrivals, a half-busy server answers 99 % within 4.3 calls, one that is busy
    for 60 % of the time within 5.5 (M/D/1 queue): so at the lowest rate stock default just can."""
    load_start_ns: int = 20_000_000
    """The first arrival is due this long after the request was sent: the worker must be awake."""
    load_draws: int = 2000
    """Of the bootstrap over whole blocks; its ends then move by less than a percentile's own
    graininess."""
    beyond_percentile: float = 1.0
    """Requests that must lie beyond a percentile; with fewer it would be the maximum under another
    name. So p99 needs a hundred requests."""
    accuracy_seeds: Mapping[str, int] = field(
        default_factory=lambda: {"smoke": 1, "standard": 3, "full": 5}
    )
    """Intervals are over seeds: one has none, three a coarse one."""
    accuracy_steps_a_turn: int = 8
    """Steps between two evaluations, and a turn: accuracy is known to this many steps. Fewer, and
    most of the study would be evaluating, which takes as long as some ten steps."""
    accuracy_learning_rate: float = 1e-4
    """The tutorial's, because the time to an accuracy is a user's; a run's steps take a tenth of
    it, since there only their time counts and their losses are compared."""
    accuracy_in_a_row: int = 2
    """Evaluations in a row at the target or above: one alone can be luck of a small test set."""
    accuracy_evaluated: int = 64
    """Images on which accuracy is taken, good and bad in turn; some seconds on two cores."""
    accuracy_training_images: int = 512
    """At most: they are held in memory, so that only steps take time."""
    pooled_tolerance: float = 1e-3
    """Largest difference of ROIAlign's values of about 1. A sample's place, up to 336 cells from
    the edge, is rounded to about 3e-5 of a cell, and neighbouring cells of random features differ
    by up to 8."""


DEFAULT = Policy()
SELFCHECK = SelfcheckPolicy()
STUDIES = StudyPolicy()
LEAST_IMAGES = 8
"""Outputs of so many are compared however slow a scenario is: four good, four bad."""
