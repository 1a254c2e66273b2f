"""What `init` is made of: the answers it needs, the files it writes, the advice it gives."""
