"""Commands: the only place that prints or exits. Each module is parse_args, run, main."""
