"""Rate limiting per account, Region and quota category."""
