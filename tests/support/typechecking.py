"""The type checker that jaxtyping applies to every function of aljax: an int is a float, as in PEP 484."""

from beartype import BeartypeConf, beartype

typechecker = beartype(conf=BeartypeConf(is_pep484_tower=True))
