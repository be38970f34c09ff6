"""The command `aljax`: a module for each subcommand, and what every command does."""
