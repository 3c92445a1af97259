"""Expert policies: their weights (`<Task>.safetensors`), what is known of each (`<Task>.json`), and how to run them.

    from dynamic_sparsity.policies import load_policy

    policy = load_policy("CheetahRun")
    location, scale = policy.distribution(observation)  # JAX; action = tanh(location + scale · noise)

Running needs JAX, writing `safetensors`; nothing here needs brax or a simulator.
"""

from dynamic_sparsity.policies.files import available, expert_path, load_policy, read_record
from dynamic_sparsity.policies.network import ExpertPolicy

__all__ = ["ExpertPolicy", "available", "expert_path", "load_policy", "read_record"]
