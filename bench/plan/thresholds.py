"""Set every threshold of the harness, each with its reason.

Code takes these as values and has no thresholds elsewhere. Numbers are our own measurements unless
a source is named; docs/method.md describes the whole procedure.
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
    """So many pairs in a row, because one level pair happens by chance."""
    slow_call_ms: float = 120.0
    """Slower calls use the shorter rule below: sixteen workers a launch with eleven calls each
    would take most of the budget, and a call this long averages as much as a window of short
    ones."""
    slow_window: int = 1
    slow_max_median_change: float = 0.05
    """Single calls vary more than medians of five."""
    later_calls: int = 2
    """Warm-up calls of a later launch, beyond those before an earlier launch was level: what a
    fresh process needs in any case (TorchScript's final graph exists after three calls, the first
    included). The scenario is known to get level; a launch's rounds would show if it did not."""
    later_slow_calls: int = 1
    """The same for calls over `slow_call_ms`, except TorchScript's: such a call touches all memory
    that the next one will."""
    max_calls: int = 60
    """Cap; a scenario that reaches it is measured and flagged `no_steady_state`."""
    max_seconds: float = 8.0
    """Cap in time: on a noisy machine, waiting for quiet would take all of the budget."""


@dataclass(frozen=True, kw_only=True)
class ModelPolicy:
    """How the model of a run estimates variances (`bench.analysis.noise_model`)."""

    error_prior_dof: float = 4.0
    """A participant's error variance is moderated towards its group's as if that were known from so
    many rounds: enough to stabilise three rounds, little beside fifteen."""
    class_prior_dof: float = 16.0
    """The variance between processes of a class of participants (one group's, say) is moderated
    towards the whole run's as if that were known from so many processes: about what a group of
    twenty participants with two processes each has of its own."""
    participant_prior_dof: float = 4.0
    """A participant whose own processes vary more moves up from its class's variance, moderated as
    if that were known from so many processes."""
    own_variance_dof: float = 2.5
    """From so many degrees of freedom on (four processes), a participant that clearly differs from
    the others has its own variance alone: with fewer its interval would be uselessly wide."""
    process_sd_floor: float = 0.005
    """Processes are assumed to differ by this standard deviation at least ..."""
    floor_dof: float = 2.0
    """... as if that had been seen in so many degrees of freedom: what a run shows soon outweighs
    it."""
    assumed_process_sd: float = 0.015
    """The standard deviation between processes that is assumed while a run has repeated few: near
    the upper end of what a default run showed (0.8 %, at most 1.7 %)."""
    assumed_dof: float = 6.0
    """It counts as if it had been seen in as many degrees of freedom as the run lacks of these, so
    that repeating one group of three scenarios does not widen intervals."""
    unlike_dof: float = 1.5
    """A class lets it count for as many of these as it has not shown itself, where the run's
    processes differ by less: the run's may be another group's. Where these differ by .4 % and its
    own by 1.2 %, 86 % of intervals hold (63 % without it); they are hardly wider where both are
    alike."""


@dataclass(frozen=True, kw_only=True)
class VerdictPolicy:
    """When a difference counts."""

    minimal_effect: float = 0.005
    """The whole interval must lie beyond this for `faster` or `slower`. It is no tolerance for
    noise, which the interval covers: it excludes differences that no user would notice."""
    same_within: float = 0.03
    """The whole interval must lie within this for `same`: a smaller difference decides nothing."""
    confidence: float = 0.95
    """Of each comparison's interval."""
    headline_error: float = 0.05
    """The chance that any claim of a run is wrong; all claims share it (Bonferroni)."""
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
    """`some` pressure of a quiet run stays below this; a competing job reads above 0.5."""
    max_steal: float = 0.05
    max_throttled: float = 0.01
    """A quota that is large enough stops no thread; a smaller one stops them every 0.1 s."""
    max_probe_ratio: float = 1.25
    """The calibrated probe ran this much slower than the run's median probe."""
    max_repeats: int = 2
    """Repeats of a block that other work disturbed: beside bursts of a second two find a quiet
    moment in most rounds, and more would take the time of other scenarios."""
    idle_wait_s: float = 2.0
    """Longest wait for idle CPUs after a disturbed block: about the longest burst of a neighbour
    that compiles or serves requests."""
    min_cpu_share: float = 0.95
    """Of a scenario's CPU time per wall time in its least disturbed blocks. A block with less, in a
    round in which the kernel saw other work, was disturbed; clean blocks stay within 3 %."""


@dataclass(frozen=True, kw_only=True)
class BlockPolicy:
    """How long one block of one scenario is."""

    min_block_ms: float = 100.0
    """At least this much timed work, and no more than needed: drift happens between blocks, so more
    and shorter rounds of the same seconds should give a narrower interval
    (`tests/microbench/against.py plain` compares them with long blocks)."""
    min_calls: int = 1
    """Beside a discarded one, too: more vary less, and cost more than that saves (`docs/method.md`
    has the figures)."""
    max_calls: int = 50
    settle_calls: int = 1
    """Calls discarded at the start of a block, because threads and caches are cold after other
    blocks."""
    settle_below_ms: float = 500.0
    """Slower calls keep it: a cold start takes 10 to 40 ms, most of which would count for bf16 and
    hardly any for fp32 (`docs/method.md` has the figures)."""
    settle_alike: float = 1.25
    """Whoever is less than this many times slower than one that discards its first call, too."""


@dataclass(frozen=True, kw_only=True)
class ParityTolerance:
    """How far outputs may be from stock default's, per dtype.

    The errors are of class probabilities, which are in 0..1.
    """

    fp32: float = 1e-3
    """Only the order of summation differs."""
    bf16: float = 5e-2
    """8 bits of mantissa through 13 convolutions."""
    fp16: float = 1e-2
    """11 bits of mantissa, eight times finer than bf16's, but a narrower range."""
    int8: float = 1.5e-1
    """7 bits per tensor, calibrated."""
    map_factor: float = 10.0
    """Maps are scaled by their own maximum, which magnifies an error as much."""
    max_map_error: float = 0.5
    """For every dtype: a map in 0..1 that is off by half somewhere shows another defect."""
    training_loss: float = 1e-2
    """Relative difference of the first steps' losses in fp32, from the same start and batches."""
    training_loss_bf16: float = 3e-2
    """Ten times what bf16 shows; an optimiser that never steps would be off by more."""


@dataclass(frozen=True, kw_only=True)
class LogPolicy:
    """How calls are logged, and when they explain a difference between two scenarios."""

    a_launch: int = 5
    """Logged calls in one launch, each after a block: two that other work slows leave a median of
    five as it is, and beside the block's own calls they cost little."""
    a_launch_s: float = 0.6
    """They take no longer than this together, but for the first: a slow call is as a rule the only
    one of its block, so that each logged one makes a round twice as long, and it averages much.
    With two a launch however slow, logs took half as long as all timed calls of a standard run."""
    calls: int = 10
    """Logged calls of a scenario in all launches."""
    accounted_share: float = 0.95
    """Of a call's time: below it the parts of the logged calls do not explain the scenario."""
    named_share: float = 0.7
    """Of a difference: parts are named as its cause until they give as much together."""
    most_named: int = 4
    """Parts that a sentence names; where they give less than `named_share`, it names kinds."""
    worth_naming: float = 0.05
    """Of a difference: the least share of it that a sentence mentions."""


@dataclass(frozen=True, kw_only=True)
class PlausibilityPolicy:
    """When physics refutes a result."""

    peak_tolerance: float = 0.10
    """The peak is that of large library calls, which a convolution with all data in the cache
    passes by a few percent (104 % seen), and it is measured briefly on a drifting machine."""


@dataclass(frozen=True, kw_only=True)
class BudgetPolicy:  # as many fields as the planner has thresholds
    """How the measuring time is distributed."""

    emulated_rounds: int = 3
    """Rounds a launch for a slow emulated dtype: then one launch gives a verdict."""
    emulated_slow: float = 2.0
    """An emulated dtype is slow from so many times stock default's call on. bf16 without AVX-512 is
    eight times slower; int8 without VNNI is twice as fast and is in every round."""
    emulated_share: float = 0.25
    """Emulated scenarios may use this share of the budget; beyond it they get no further launch."""
    one_scenario_share: float = 0.25
    """A scenario whose fewest calls would take more than this is left out."""
    least_calls: int = 16
    """Calls of a scenario in a first launch at least: outputs of eight images, warm-up, rounds."""
    never_slow_s: float = 5.0
    """A shorter call is never too long, however small the budget is."""
    first_rounds_share: float = 0.3
    """Time of a first visit's rounds beyond the fewest, as a share of the time for starting its
    workers: rounds are cheap compared with that."""
    leading_share: float = 0.45
    """Share of the budget for the first comparison group before the others had their turn."""
    others_share: float = 0.25
    """Largest share of the budget that is reserved for scenarios without a claim."""
    most_rounds: int = 20
    """Rounds of a process in a further visit: while few processes were seen, further processes tell
    more than further rounds."""
    most_workers: int = 14
    """Workers that are alive together, unless a visit has more: one of VGG-16 holds .45 GB while it
    waits. Of those that wait the others end; whoever is wanted again starts anew."""
    wave: int = 6
    """In a group with more new scenarios than this, those that compile have a separate visit, so
    that the others need not wait for the compiler."""
    race_confidence: float = 0.997
    """Of a comparison that takes a scenario out of a race (three standard errors)."""
    race_margin: float = 0.2
    """A scenario that is slower by more than this at the first batch size is no contender at a
    further one. Less is no reason: eager channels_last was .84 to .89 times as fast as TorchScript
    with fusion for one image in four runs on an Ice Lake guest, and .90 to 1.04 times for eight."""
    rivals: int = 3
    """Contenders of a claim that are measured beside its two leaders in a further visit."""
    most_in_visit: int = 8
    """Scenarios of a further visit, of several claims together: more make rounds long, and pairing
    needs a machine that does not change within a round."""
    most_processes: int = 20
    """A claim stays open once both of its scenarios had so many: no budget of minutes decides
    it."""
    early_error_share: float = 0.2
    """Before the end a claim counts as decided only at this share of its error, because every look
    is a chance to be wrong. Five such looks spend as much as the last one."""
    cold_compile_s: float = 12.0
    """A first call that compiles, until one was measured: VGG-16 takes 10 to 27 s on two cores."""
    warm_compile_share: float = 0.4
    """Time of loading from Inductor's cache in a later launch, as a share of a cold compilation:
    for planning only, corrected by what the launch takes."""
    free_memory_share: float = 0.85
    """A run's workers together stay below this share of the free memory of the machine or the
    control group, whichever is less: 64 GiB allow batch 32, and 4 GiB are not exceeded."""


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
    log: LogPolicy = field(default_factory=LogPolicy)
    order_seed: int = 20_251_124
    """Of the order of participants within rounds."""
    max_call_s: float = 1.5
    """A batch size whose stock call takes longer is left out: throughput is saturated long before,
    and a group of such calls takes a third of a standard run (16 images on a CPU that needs .12 s
    for one, where they told no more than 8 did)."""
    call_timeout_s: float = 180.0
    """A call that takes longer is a hang."""
    start_timeout_s: float = 120.0
    """Importing torch and IPEX takes seconds, on a cold disk tens of seconds."""
    prepare_timeout_s: float = 300.0
    """Compilation may take a minute on two cores."""


@dataclass(frozen=True, kw_only=True)
class SelfcheckPolicy:
    """How `bench selfcheck` tests the harness, and what it requires."""

    image_size: int = 64
    """Small inputs, about 15 ms a call on two cores: two hundred comparisons in half an hour."""
    full_size: int = 224
    min_block_ms: float = 100.0
    """As a run's: seven small calls."""
    max_rounds: int = 12
    """Per launch; a run may have more, so verdicts are harder here."""
    shares: tuple[float, ...] = (0.03, 0.05, 0.10)
    """Planted slowdowns."""
    burst_s: tuple[float, float] = (0.2, 2.0)
    """Shortest and longest burst of the second process: from about a block to about a round."""
    max_wrong_share: float = 0.01
    """Of identical scenarios. A run has some fifty verdicts: at 1 %, one is wrong every other run
    unless surprising ones are confirmed."""
    found_at_least: Mapping[float, float] = field(default_factory=lambda: {0.05: 0.9, 0.10: 1.0})
    """Share of the planted slowdowns that must be found; for 3 % none is required."""
    max_parent_cpu_share: float = 0.01
    min_measuring_share: float = 0.80
    max_missed_share: float = 0.25
    """Share of the variance between fresh processes that cheaper ones may miss, by its upper bound:
    intervals are then an eighth too narrow at most."""


@dataclass(frozen=True, kw_only=True)
class StudyPolicy:  # as many fields as the studies have thresholds
    """How the studies measure, beside the thresholds of a run."""

    budget_share: float = 1 / 3
    """Of a run's budget: a study answers fewer questions than a run."""
    stage_images: Mapping[str, int] = field(
        default_factory=lambda: {"smoke": 4, "standard": 8, "suite": 4, "full": 16}
    )
    """Images a block from disk to decision: the same for every backend, others next round."""
    instances_block_s: float = 2.0
    """Long compared with a call of some 100 ms and with the start of instances."""
    requests_per_core: int = 4
    """Of a call of OpenVINO's throughput mode, so that little of it is waiting for the last."""
    load_shares: tuple[float, ...] = (0.5, 0.75, 1.0)
    """Rates as shares of stock default's highest, so that all ways have the same arrivals: from
    half idle to saturation, where its queue only grows. Few, because at a low rate most of the time
    is waiting for requests."""
    load_requests: Mapping[str, int] = field(
        default_factory=lambda: {"smoke": 36, "standard": 54, "suite": 36, "full": 60}
    )
    """Requests a rate in one block: the fewest rounds of one launch then have the hundred requests
    that p99 needs. They can show that it misses a bound; that it keeps one takes more than `smoke`
    has time for (docs/scaling.md)."""
    load_bound_calls: float = 5.0
    """Default latency bound, in calls of stock default. With a fixed call time and Poisson
    arrivals, a half-busy server answers 99 % within 4.3 calls, one that is busy for 60 % of the
    time within 5.5 (M/D/1 queue): stock default just meets it at the lowest rate."""
    load_start_ns: int = 20_000_000
    """Delay of the first arrival after the request: the worker must be ready."""
    load_dependence_at: float = 0.9
    """Percentile at which the dependence of requests is seen for a higher one: few requests lie
    beyond p99, and those that share a queue share it here, too."""
    beyond_percentile: float = 1.0
    """Requests that must be beyond a percentile, or it would be the maximum under another name. So
    p99 needs a hundred requests."""
    accuracy_seeds: Mapping[str, int] = field(
        default_factory=lambda: {"smoke": 1, "standard": 3, "suite": 1, "full": 5}
    )
    """Intervals are over seeds: one has none, three a coarse one."""
    accuracy_steps_a_turn: int = 8
    """Steps between two evaluations, which is a block: accuracy is known to this many steps. With
    fewer, evaluating, which takes as long as ten steps, would be most of the study."""
    accuracy_learning_rate: float = 1e-4
    """The tutorial's, as a user's time to an accuracy depends on it; a run uses a tenth, since only
    the times of its steps count and their losses are compared."""
    accuracy_in_a_row: int = 2
    """Evaluations in a row at the target or above: one alone may be chance on a small test set."""
    accuracy_evaluated: int = 64
    """Images on which accuracy is taken, good and bad in turn; some seconds on two cores."""
    accuracy_training_images: int = 512
    """At most; they stay in memory, so that only steps take time."""
    pattern_tolerance: float = 1e-4
    """Largest difference of a pattern's values, which are about 1: a hundred times what the order
    of its thousands of additions changes, while a missing ReLU or addend changes about 1."""
    pooled_tolerance: float = 1e-3
    """Largest difference of ROIAlign's values, which are about 1. A sample's place, up to 336 cells
    from the edge, is rounded to about 3e-5 of a cell, and neighbouring cells of random features
    differ by up to 8."""


DEFAULT = Policy()
SELFCHECK = SelfcheckPolicy()
STUDIES = StudyPolicy()
LEAST_IMAGES = 8
"""Images whose outputs are compared for every scenario: four good, four bad."""
