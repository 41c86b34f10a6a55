"""Small applications as somebody may write them who has never seen this repository: they know `presenced` alone."""
