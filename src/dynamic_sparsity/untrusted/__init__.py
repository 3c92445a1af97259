"""Reading what strangers made: the one place where bytes from outside become names, documents and arrays.

A store, an index, a publication, a policy or a result may come from anybody. Whatever reads one goes through here:
`names` validates every name and path that was not made up by this process, `files` opens regular files only and reads
at most as much as it may, `documents` parses JSON within limits, `values` checks what stands in it, `archives` reads
tar and npz files member by member. All of them raise one family of errors,
`CorruptInputError`. docs/security.md has the threat model.
"""
