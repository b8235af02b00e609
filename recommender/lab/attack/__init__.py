"""Attacks on the product, and what each is worth against each defence. Knows only the product's public face: a log
of events goes in, `Pipeline.step` gives verdicts, `Pipeline.board` gives lists.

    a site ──> catalogue: an attack ──> rows ──> delivery ──> a log with `label` and `attack` beside it, a live server
                                                    └──> trials: with and without the attack, against one of
                                                         the defences, second by second ──> report

Labels travel beside the events and are used for scoring only; no product code ever sees one.
"""
