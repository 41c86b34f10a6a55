"""What a profile found, as values (`outcome`), the histogram that it fills, the names of units, and result files."""
