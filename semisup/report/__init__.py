"""The report of one or more runs: one content (`content.py`), written as LaTeX, HTML and Markdown.

    semisup report RUN                      # report.tex, report.html, report.md and figures/ in RUN/report
    semisup report RUN RUN RUN --out report

`runs.py` reads what a run left, `arms.py` puts runs of different seeds together and pairs them, `sections.py` and
`results.py` say it, and one file per format writes it.
"""
