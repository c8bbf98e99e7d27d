"""AWS client for the calls of a sweep, without the per-call cost of boto3."""
