"""`python -m hrnet_deploy COMMAND ...`."""

from hrnet_deploy.cli.commands import main

raise SystemExit(main())
