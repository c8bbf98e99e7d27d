"""`report`: one sweep of the pools, with every device printed."""
