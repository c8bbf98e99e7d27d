"""Loopback server that responds to the calls of a sweep with the latency of Cognito, and counts them.

It is not an emulator: it generates its users. It is fast, so that the benchmark measures the client.
"""
