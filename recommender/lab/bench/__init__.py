"""Measures of this machine for `manage.py bench`.

Each figure is compared with a ceiling measured in the same run:

    step             Pipeline.step alone; ceiling: np.add.at over the same arrays
    ingest           HTTP -> committed -> learned -> listed; ceiling: a bare COPY into the same database
    freshness        an event sent -> in GET /trending, at half the load that ingest must sustain
    trending         GET /trending while learning; ceiling: the trivial view on the same server, in turns
    recommendations  GET /recommendations while learning, for actors that acted; ceiling: the same trivial view

`running_system` starts the whole of Groundswell as a first run does, on a home and a database of its own. `http_load`
is a process that sends requests. `full_log` measures nothing: it fills a database for measures that read it.

On a shared machine a single figure may differ by a third from run to run, so trust the ratios.
"""
