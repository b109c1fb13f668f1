"""`bench selfcheck`: measure how often this harness is right on this machine.

Identical scenarios are compared many times, known slowdowns are planted and searched for, and a
second process takes a core in bursts, all with the workers, rounds and statistics of a run.
"""
