"""The commands of `pillqc`: each reads arguments, calls one module, prints what came back."""
