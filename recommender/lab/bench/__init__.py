"""What this machine can do: `manage.py bench`. Each figure stands beside a ceiling measured in the same run.

    step       Pipeline.step alone                    beside np.add.at over the same arrays
    ingest     HTTP -> committed -> learned -> listed  beside a bare COPY into the same database
    freshness  an event sent -> in GET /trending       at half the load that ingest is to sustain
    trending   GET /trending while learning            beside the trivial view on the same server, in turns
    recommendations  GET /recommendations while learning   beside the same, for actors that acted

`running_system` starts the whole of Groundswell as a first run does, on a home and a database of its own; `http_load`
is a process that sends. Single figures on a shared machine differ by a third from run to run: trust the ratios.
`full_log` is no figure: it fills a database for whoever measures what reads it.
"""
