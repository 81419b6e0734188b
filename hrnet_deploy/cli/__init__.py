"""The commands, and the only code that prints or exits. Each module has parse_args, run and main."""
