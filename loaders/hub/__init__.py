"""A published repository on the Hugging Face Hub: what it holds, and transfers of the parts that a request needs."""
