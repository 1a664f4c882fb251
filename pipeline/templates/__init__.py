"""The configs that `hivemill init` and `hivemill data import` write. A package, so that an installation carries them."""
