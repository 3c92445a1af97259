"""A run of `generate`: its units of work, who gets them, how one is made, and what `status` reads."""
