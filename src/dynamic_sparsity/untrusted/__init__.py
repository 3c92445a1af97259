"""Reading what strangers made, and showing it: where bytes from outside become names, documents, arrays and output.

A store, an index, a publication, a policy or a result may come from anybody. Whatever reads one goes through here:
`names` validates every name and path that was not made up by this process, `files` opens regular files only and reads
at most as much as it may, `documents` parses JSON within limits, `values` checks what stands in it, `archives` reads
tar and npz files member by member. All of them raise one family of errors, `CorruptInputError`.

Whatever writes names from outside goes through here, too: `console` for people at a terminal, `markdown` for pages and
their tables, `text` for everything else. docs/security.md has the threat model.
"""
