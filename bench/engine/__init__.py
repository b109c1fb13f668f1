"""Start workers and measure groups of participants in paired rounds.

engine.py            one launch of a group: open, measure, close
launcher.py          starts a worker: its CPUs, variables, data and cache
worker_process.py    the parent's end of a worker's pipes
execution.py         one participant in one launch; decides whether a block is disturbed
rounds.py            the rounds of a group, and when they end
schedule.py          the order of participants in a round
checks.py            what an experiment looks at beside the times
environments.py      other interpreters
"""
