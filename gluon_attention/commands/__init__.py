"""The verbs of the command line: a module each, with `add_parser(verbs)` and `run(flags)`."""
