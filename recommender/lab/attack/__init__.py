"""Attacks on the product, and what each of them achieves against each defence.

The lab knows only the product's public face. A log of events goes in, `Pipeline.step` gives verdicts and
`Pipeline.board` gives lists.

    a site ──> catalogue: an attack ──> rows ──> delivery ──> a log with `label` and `attack`, or a live server
                                                    └──> trials: second by second against one of the defences,
                                                         with and without the attack ──> report

Labels travel with the events and serve only to score a run. No product code ever sees a label.
"""
