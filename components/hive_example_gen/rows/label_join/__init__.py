"""The label from a second table: impressions that a click of the same key follows within a limit (docs/decisions/0032).

An impression i is labelled 1 when a click c of the same key has i.time <= c.time <= i.time + within, and `take` gives
c to i: `last` to the last impression at or before the click, `first` to the first one within the limit before it,
`every` to each of them. Impressions of one key at the same time share what they get. A NULL key or time never matches.

    options.py   what hivemill.yaml says
    plan.py      which days of both tables the labels of a window need
    build.py     one day of one table as sorted pairs on disk (event_index)
    beam.py      builds them in parallel, before the conversion
    labels.py    the labels of the rows of one partition
"""
