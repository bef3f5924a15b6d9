"""A report of runs: read from disk, put into words, tables and figures, written as HTML, Markdown and LaTeX."""
