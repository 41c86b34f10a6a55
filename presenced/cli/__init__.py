"""The two commands: `presenced` (daemon) and `presencectl` (ctl and its helpers)."""
