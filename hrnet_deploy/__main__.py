"""`python -m hrnet_deploy COMMAND ...`."""

from hrnet_deploy.cli.commands import main
from hrnet_deploy.cli.interruption import own_process

own_process("hrnet_deploy")
raise SystemExit(main())
