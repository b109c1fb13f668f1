"""`bench recommend`: the best valid scenario of a run for a wish, and the code to use it.

Imports nothing itself: the command line names its command, and must start without the report.
"""
