"""`bench run`: decide what is measured next and when a run ends, check it, resume it after a kill.

request.py    what the user wants
measure.py    a run from beginning to end
limits.py     the machine's peak, and the largest batch
runner.py     the loop of visits
planner.py    the next visit; None ends the run
checks.py     what a run looks at beside the times
outcomes.py   what is known of each scenario, and its row in scenarios.csv
state.py      everything measured so far
resume.py     a run that was cut
"""
