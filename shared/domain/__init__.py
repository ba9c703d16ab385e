"""The rules of a grant: pure, standard library only."""
