"""One study beside everything that it should be compared with."""
