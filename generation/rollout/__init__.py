"""Episodes: actions, the compiled transition, and the recording of rows."""
