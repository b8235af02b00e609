"""The batch cycle: compare the online model with others, and replace it.

collect:  log, archives, files ──> one log in files, each event once, in order of time
candidate_pass, with story_spikes and fixed_attacks: one pass over it with several Pipelines
    ├──> challenger_trial  champion and challengers, clean and attacked          (manage.py retrain)
    ├──> compare           daily batch, hourly batch, online                     (manage.py compare)
    └──> sweep             adaptivity against inertia                            (manage.py sweep)
"""
