"""Enter one's own model, in PyTorch: a small network whose Jacobian, by forward mode, is its causal graph.

dynamic-sparsity evaluate CartpoleBalance examples/own_model_torch.py:fit --seeds 0,1,2
"""

import torch


class Network(torch.nn.Module):
    """Anything with `predict` can be evaluated; `jacobian` and `edge_score` are for models that have them."""

    def __init__(self, sizes, scale, width):
        super().__init__()
        ds, da = sizes
        layers = [torch.nn.Linear(ds + da, width), torch.nn.ELU(), torch.nn.Linear(width, ds)]
        self.layers, self.scale = torch.nn.Sequential(*layers), scale

    def predict(self, state, action):
        x = torch.as_tensor(self.scale.inputs(state, action))
        with torch.no_grad():
            return state + self.layers(x).numpy() * self.scale.delta_std

    def jacobian(self, state, action):
        x = torch.as_tensor(self.scale.inputs(state, action))
        slope = torch.vmap(torch.func.jacfwd(self.layers))(x).detach().numpy()
        slope = slope * self.scale.delta_std[:, None] / self.scale.input_std
        slope[:, range(state.shape[1]), range(state.shape[1])] += 1
        return slope


def fit(data, budget, seed):
    random = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    x = torch.as_tensor(data.scale.inputs(data.train.state, data.train.action))
    y = torch.as_tensor((data.train.next_state - data.train.state) / data.scale.delta_std)
    model = Network(data.train.sizes, data.scale, budget.width)
    optimiser = torch.optim.Adam(model.parameters(), budget.learning_rate)
    for _ in range(budget.steps):
        rows = torch.randint(len(x), (budget.batch_rows,), generator=random)
        optimiser.zero_grad()
        ((model.layers(x[rows]) - y[rows]) ** 2).mean().backward()
        optimiser.step()
    return model
