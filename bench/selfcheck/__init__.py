"""`bench selfcheck`: what this harness gets right on the machine at hand, in figures.

Identical scenarios are compared many times, known slowdowns are planted and looked for, and a
second process takes a core away in bursts, all with the workers, rounds and statistics of a run.
"""
