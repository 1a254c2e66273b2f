"""A newcomer's first hour, carried out on a bare machine."""
