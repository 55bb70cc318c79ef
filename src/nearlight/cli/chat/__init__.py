"""The chat: `repl` reads a message and streams the answer; `commands` are the lines that begin with a slash.

`state` is a chat under way: its model, its `dialogue` (what was said) and its `settings`. What larger commands do is in
`file` (/save and /load), `model` (/model) and `context` (a context that is full).
"""
