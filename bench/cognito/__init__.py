"""A Cognito on loopback that answers the calls of a sweep, late as the real one does, and keeps count of them.

Not an emulation: it knows no users but made-up ones. It is fast, so that what is measured is its client.
"""
