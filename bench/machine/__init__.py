"""The machine under measurement: its cores, disks and facts, server processes, and what they use. No protocol."""
