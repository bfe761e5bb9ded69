"""Released counts: bound, count, add noise once, store; everything later reads the release and costs nothing more."""
