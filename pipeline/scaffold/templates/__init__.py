"""The configs that `hivemill init` and `data import` write. A package, so that an installation carries them."""
