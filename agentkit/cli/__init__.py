"""The command line. Results go to stdout, everything else to stderr; bodies import, so `--help` stays quick."""
