"""A Cognito that runs on loopback: moto, and the device operations that moto lacks."""
