"""The batch cycle beside the online model: what it is compared with, and can be replaced from.

rows + spill ──> merge:  log, archives, files ──> one log in files, each event once, in order of time
archive:                 partitions that leave retention ──> Parquet
spikes, assaults, course: one pass over a log with several Pipelines, what it saw, what an attack did to it
    ├──> trial    champion and challengers, clean and attacked          (manage.py retrain)
    ├──> compare  daily batch, hourly batch, online                     (manage.py compare)
    └──> sweep    adaptivity against inertia                            (manage.py sweep)
"""
