"""`bench scenarios`: list what a profile measures."""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from bench.cli import options


@click.command()
@options.profile("standard")
@options.as_json
def scenarios(profile: str, as_json: bool) -> None:
    """List what a profile measures, decides and leaves out.

    \b
    Examples:
      bench scenarios --profile smoke
    """
    from bench.plan import matrix, thresholds
    from bench.plan.profiles import PROFILES
    from bench.plan.support import RULES
    from bench.run.outcomes import claims_of_plan

    chosen = matrix.matrix(PROFILES[profile])
    claims = claims_of_plan(chosen)
    found = {rule.concern: [one.id for one in chosen if rule.applies(one)] for rule in RULES}
    resting = {concern: names for concern, names in found.items() if names}
    if as_json:
        plan = {
            "scenarios": [scenario.id for scenario in chosen],
            "claims": [
                {"claim": one.id, "candidates": one.candidates, "opponents": one.opponents}
                for one in claims
            ],
            "excluded": [{"what": one.what, "reason": one.reason} for one in matrix.EXCLUSIONS],
            "concerns": [
                {**asdict(concern), "scenarios": names} for concern, names in resting.items()
            ],
        }
        click.echo(json.dumps(plan, indent=2))
        return
    for scenario in chosen:
        click.echo(scenario.id)
    click.echo("\nHeadlines, each the best of some scenarios against the best of others:")
    for one in claims:
        click.echo(f"  {one.id}: of {len(one.candidates)} against {len(one.opponents)}")
    click.echo("\nTo know before you build on them (each recommendation says it too):")
    for concern, names in resting.items():
        of = f"{len(names)} of {len(chosen)} scenarios"
        click.echo(f"  {concern.severity.value}: {of}. {concern.sentence}")
    click.echo("\nLeft out:")
    for exclusion in matrix.EXCLUSIONS:
        click.echo(f"  {exclusion.what}: {exclusion.reason}")
    most = f"{thresholds.DEFAULT.max_call_s:g} s a call"
    click.echo(f"  batches that take this machine more than {most} (found when a run starts)")
