"""Changes to the code that a test has to notice, as data (`mutants.toml`), and the program that makes each of them."""
