"""What a profile found: `outcome` as values, `files` as JSON and CSV.

`histogram` keeps times while a profile runs; `units` knows what a figure's name says of it.
"""
