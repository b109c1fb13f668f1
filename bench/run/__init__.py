"""`bench run`: what a run measures next, what it checks, and how it goes on after a kill."""
