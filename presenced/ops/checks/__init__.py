"""The doctor's checks, grouped by what they examine. `finding` has the types that all of them use."""
