"""What `check` looks at, a part of it in each module; all of them change nothing."""
