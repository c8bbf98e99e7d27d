"""`report`: read devices now and print them."""
