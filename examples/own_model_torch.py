"""Enter one's own model, in PyTorch: a small network whose Jacobian, by forward mode, is its causal graph.

dynamic-sparsity evaluate FingerSpin examples/own_model_torch.py:fit --sample --name my-model --out results/learners
"""

import numpy as np
import torch


class Network(torch.nn.Module):
    """Anything with `predict` can be evaluated; `jacobian` and `edge_score` are for models that have them."""

    def __init__(self, data, width):
        super().__init__()
        (ds, da), self.scale = data.train.sizes, data.scale
        self.layers = torch.nn.Sequential(torch.nn.Linear(ds + da, width), torch.nn.ELU(), torch.nn.Linear(width, ds))

    def predict(self, state, action):
        x = torch.as_tensor(self.scale.inputs(state, action))
        return state + self.layers(x).detach().numpy() * self.scale.delta_std

    def jacobian(self, state, action):
        x = torch.as_tensor(self.scale.inputs(state, action))
        slope = torch.vmap(torch.func.jacfwd(self.layers))(x).detach().numpy()
        return np.eye(*slope.shape[1:]) + slope * self.scale.delta_std[:, None] / self.scale.input_std


def fit(data, budget, seed):
    torch.manual_seed(seed)
    model = Network(data, budget.width)
    x = torch.as_tensor(data.scale.inputs(data.train.state, data.train.action))
    y = torch.as_tensor((data.train.next_state - data.train.state) / data.scale.delta_std)
    optimiser = torch.optim.Adam(model.parameters(), budget.learning_rate)
    for _ in range(budget.steps):
        rows = torch.randint(len(x), (budget.batch_rows,))
        optimiser.zero_grad()
        ((model.layers(x[rows]) - y[rows]) ** 2).mean().backward()
        optimiser.step()
    return model
