"""`bench run`: what a run measures next, what it checks, and how it is resumed after a kill."""
