"""The Cordial lists of an account's segments: their names, and how they are found or created."""
