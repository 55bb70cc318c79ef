"""Markdown on a terminal, while it is being written: `blocks`, `inline` marks, `code`, and their `layout` in rows."""
