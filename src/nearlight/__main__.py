"""`python -m nearlight` is the command `nearlight`."""

from nearlight.cli.main import main

raise SystemExit(main())
