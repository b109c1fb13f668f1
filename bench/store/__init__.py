"""Keep the files of a run: typed rows, run metadata, safe writing, the run's folder.

schema.py        the columns of each CSV file
metadata.py      the content of environment.json
records.py       writes and reads both
rows.py          a row as a line of CSV
events.py        what happened, and the sentence for it
run_folder.py    a run's folder and lock
"""
