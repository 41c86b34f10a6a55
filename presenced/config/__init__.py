"""What an operator may choose, where each choice comes from, and whether it can work."""
