"""GPU memory, streams and graphs behind one small protocol."""
