"""The doctor's checks, by what they look at. `finding` has the words in which they all speak."""
