"""The machine, the terminal and the file system, as the rest of the package sees them."""
