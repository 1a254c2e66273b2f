"""Contact imports of the stand-in: jobs that fetch a file of contacts and carry it out, as Cordial does."""
