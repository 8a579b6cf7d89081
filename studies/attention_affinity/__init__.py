"""Which directions attend to which, what flows when they do, what tuning changed: by weights."""
