"""What the functions stand on; DESIGN.md's house says what is where."""
