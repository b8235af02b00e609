"""Attacks on the product, and what each is worth against each defence. Knows only the product's public face: a log
of events goes in, `Pipeline.step` gives verdicts, `Pipeline.board` gives lists.

    world ──> catalogue: an attack ──plan──> rows ──inject──> a log with `label` and `attack` beside it
                                       └──campaign──> arena: with and without, second by second ──> metrics ──> report

Labels travel beside the events and are used for scoring only; no product code ever sees one.
"""
