"""One sweep now, every device to whoever asks: nothing is kept and nothing is changed."""
