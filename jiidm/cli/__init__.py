"""The command line: a file for each group of commands, options and effect together."""
