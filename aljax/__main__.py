"""`python -m aljax` is the command `aljax`."""

from aljax.commands.main import main

main()
