"""Networks that learn dynamics and structure, one file a method, and what they share; these need JAX and Equinox."""
