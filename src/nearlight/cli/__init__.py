"""The command line: its commands, and what several of them share.

    main             which command, and what a person sees of errors
    run  chat/       one answer, or a chat         hub          pull, list, rm: models of the Hugging Face hub
    inspect          what is in a package          cache        packed weights that are kept on disk
    plan/            will it fit, how fast         roofline     this machine's ceilings
    bench            how fast it is; its rows are laid out by `bench_text`

Shared: `arguments` (flags), `names` (which model a name means), `prompt` (what it is made of), `summary` (what is told
about an answer). What draws on the terminal is in `nearlight.terminal`.

Importing this package imports nothing: commands load when they are called, so that `nearlight --help` is instant.
"""
