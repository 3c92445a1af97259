"""The commands and their options; each imports what does its work only when it is called."""
