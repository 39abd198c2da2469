"""The verbs of the command line, one module each, with `add_parser(verbs)` and `run(flags)`."""
