"""The command line: one module per command, and what several of them share.

    main            which command, and what a person sees of errors
    run             one answer, or a chat          inspect         what is in a package
    pull list rm    models of the Hugging Face hub
    plan            will it fit, how fast at most: `plan_report` (also as JSON), `plan_text`

Shared: `arguments` (flags), `source` (what MODEL and PROMPT mean), `prompt` (what it is made of), `report` (the closing
line), `progress`, `streams`, `terminal`, `table`, `units`. The chat: `chat`, `chat_commands`, `dialogue` (its state),
`line_editor`, and streaming Markdown in `markdown_blocks`, `markdown_code`, `markdown_view`.

Importing this package imports nothing: commands load when they are called, so that `nearlight --help` is instant.
"""
