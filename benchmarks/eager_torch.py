"""A baseline for timing: our own SAINT, SPIN, factored and LSTM policies in PyTorch, in the style of the public code.

Each update is one Python call, each slot has its own module, there are three optimisers, and every logged figure is
fetched in every step. Layers are those of spin_jax, except for their initial values and for one thing: PyTorch's
Transformer layer has one LayerNorm in front of attention where ours and the published code have two. `load` multiplies
their scales into the weights behind them, and benchmarks/eager_reference.py compares the outputs before it times
anything.
"""

from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from spin_jax.models.transformer import EPSILON


def mlp(num_inputs: int, outputs: int, width: int = 256) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(num_inputs, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, outputs)
    )


class TransformerPolicy(nn.Module):
    """SAINT; with frozen=True SPIN: encoder and body get no gradient (and keep their dropout, as published)."""

    def __init__(
        self,
        num_features: int,
        num_slots: int,
        num_choices: int,
        asm: Any,
        head_width: int,
        dropout: float,
        frozen: bool,
    ):
        super().__init__()
        body = asm.body
        self.state_tokens, self.width = asm.state_tokens, body.width
        self.encoder = nn.Sequential(
            nn.Linear(num_features, 2 * body.width), nn.GELU(), nn.Linear(2 * body.width, asm.state_tokens * body.width)
        )
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(
                body.width,
                body.num_heads,
                body.ffn_mult * body.width,
                body.dropout,
                "gelu",
                EPSILON,
                batch_first=True,
                norm_first=True,
            )
            for _ in range(body.num_blocks)
        )
        self.queries = nn.Parameter(torch.randn(num_slots, body.width))
        self.heads = nn.ModuleList(
            nn.Sequential(
                nn.Linear(body.width, head_width), nn.GELU(), nn.Dropout(dropout), nn.Linear(head_width, num_choices)
            )
            for _ in range(num_slots)
        )
        if frozen:
            self.encoder.requires_grad_(False)
            self.blocks.requires_grad_(False)

    def logits(self, observation: torch.Tensor, actions: torch.Tensor | None = None) -> list[torch.Tensor]:
        del actions
        state = self.encoder(observation).view(len(observation), self.state_tokens, self.width)
        x = torch.cat([state, self.queries.expand(len(observation), -1, -1)], 1)
        for block in self.blocks:
            x = block(x)
        return [head(x[:, self.state_tokens + i]) for i, head in enumerate(self.heads)]


class FactoredPolicy(nn.Module):
    """An MLP of two hidden layers (config.width) with ReLU and dropout, and one linear head per slot."""

    def __init__(self, num_features: int, num_slots: int, num_choices: int, config: Any):
        super().__init__()
        width, dropout = config.width, config.dropout
        self.trunk = nn.Sequential(
            nn.Linear(num_features, width), nn.ReLU(), nn.Dropout(dropout),
            nn.Linear(width, width), nn.ReLU(), nn.Dropout(dropout),
        )  # fmt: skip
        self.heads = nn.ModuleList(nn.Linear(width, num_choices) for _ in range(num_slots))

    def logits(self, observation: torch.Tensor, actions: torch.Tensor | None = None) -> list[torch.Tensor]:
        del actions
        h = self.trunk(observation)
        return [head(h) for head in self.heads]


class AutoregressivePolicy(nn.Module):
    """An LSTM over the slots (config.num_layers layers) that reads the state and the previous slot's choice.

    All slots share one table of choices; its last row starts a joint action.
    """

    def __init__(self, num_features: int, num_slots: int, num_choices: int, config: Any):
        super().__init__()
        self.state = nn.Linear(num_features, config.state_width)
        self.choices = nn.Embedding(num_choices + 1, config.choice_width)
        self.lstm = nn.LSTM(
            config.state_width + config.choice_width, config.lstm_width, config.num_layers, batch_first=True
        )
        self.heads = nn.ModuleList(nn.Linear(config.lstm_width, num_choices) for _ in range(num_slots))

    def logits(self, observation: torch.Tensor, actions: torch.Tensor) -> list[torch.Tensor]:
        state = F.relu(self.state(observation))
        start = torch.full_like(actions[:, :1], self.choices.num_embeddings - 1)
        before = self.choices(torch.cat([start, actions[:, :-1]], 1)).unbind(1)
        h, _ = self.lstm(torch.stack([torch.cat([state, b], -1) for b in before], 1))
        return [head(h[:, i]) for i, head in enumerate(self.heads)]


class IQL:
    """IQL's update in the published order, one call per step."""

    def __init__(
        self, policy: nn.Module, num_features: int, num_slots: int, num_choices: int, config: Any, device: str = "cpu"
    ):
        self.config, self.shape = config, (num_slots, num_choices)
        self.policy = policy.to(device).train()

        def critics():
            return nn.ModuleList(mlp(num_features, num_slots * num_choices) for _ in range(2)).to(device)

        self.critics, self.targets, self.value = critics(), critics(), mlp(num_features, 1).to(device)
        self.targets.load_state_dict(self.critics.state_dict())
        trained = [p for p in policy.parameters() if p.requires_grad]
        parameters = (trained, self.critics.parameters(), self.value.parameters())
        self.optimisers = [torch.optim.Adam(group, config.learning_rate) for group in parameters]

    def q(self, critics: Any, observation: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        utilities = [critic(observation).view(-1, *self.shape) for critic in critics]
        return [u.gather(-1, action[..., None])[..., 0].sum(-1) for u in utilities]

    def log_prob(self, observation: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        logits = self.policy.logits(observation, action)
        return sum(F.log_softmax(x, -1).gather(-1, action[:, i : i + 1])[:, 0] for i, x in enumerate(logits))

    @staticmethod
    def descend(optimiser: torch.optim.Optimizer, loss: Any) -> None:
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    def update(
        self, observation: torch.Tensor, action: torch.Tensor, reward: torch.Tensor, discount: Any, following: Any
    ) -> dict[str, float]:
        config, (policy_opt, critics_opt, value_opt) = self.config, self.optimisers
        with torch.no_grad():
            target_q = torch.minimum(*self.q(self.targets, observation, action))
        v = self.value(observation)[:, 0]
        error = target_q - v
        value_loss = (torch.where(error > 0, config.expectile, 1 - config.expectile) * error**2).mean()
        advantage = error.detach()
        self.descend(value_opt, value_loss)
        with torch.no_grad():
            target = reward + config.gamma * discount * self.value(following)[:, 0]
        critic_loss = sum(((q - target) ** 2).mean() for q in self.q(self.critics, observation, action)) / 2
        self.descend(critics_opt, critic_loss)
        weight = torch.exp(config.beta * advantage).clamp(max=config.weight_clip)
        policy_loss = -(weight * self.log_prob(observation, action)).mean()
        self.descend(policy_opt, policy_loss)
        with torch.no_grad():
            for target, online in zip(self.targets.parameters(), self.critics.parameters(), strict=True):
                target.lerp_(online, config.tau)
        return {"value": value_loss.item(), "critic": critic_loss.item(), "policy": policy_loss.item()}


def load(policy: nn.Module, params: Any) -> None:
    """Copies the parameters of the spin_jax policy of the same kind into `policy`."""

    def copy(target, source):
        target.data.copy_(torch.from_numpy(np.array(source, np.float32)))

    def dense(layer, p):
        width = layer.out_features
        copy(layer.weight, np.asarray(p["kernel"]).reshape(-1, width).T)
        copy(layer.bias, np.asarray(p["bias"]).reshape(width))

    if isinstance(policy, TransformerPolicy):
        _load_transformer(policy, params, copy, dense)
        return
    if isinstance(policy, FactoredPolicy):
        dense(policy.trunk[0], params["Dense_0"])
        dense(policy.trunk[3], params["Dense_1"])
        n = len(policy.heads)
        kernels, biases = np.split(params["Dense_2"]["kernel"], n, -1), np.split(params["Dense_2"]["bias"], n)
    else:
        dense(policy.state, params["state"])
        copy(policy.choices.weight, params["choices"])
        for i, layer in enumerate(params["lstm"].values()):
            copy(getattr(policy.lstm, f"weight_ih_l{i}"), np.asarray(layer["kernel_in"]).T)
            copy(getattr(policy.lstm, f"weight_hh_l{i}"), np.asarray(layer["kernel_hidden"]).T)
            copy(getattr(policy.lstm, f"bias_ih_l{i}"), layer["bias_in"])
            copy(getattr(policy.lstm, f"bias_hh_l{i}"), layer["bias_hidden"])
        kernels, biases = params["heads"]["kernel"], params["heads"]["bias"]
    for head, kernel, bias in zip(policy.heads, kernels, biases, strict=True):
        dense(head, {"kernel": kernel, "bias": bias})


def _load_transformer(policy, params, copy, dense):
    asm, heads, width = params["asm"], params["heads"], policy.width
    dense(policy.encoder[0], asm["encoder_in"])
    dense(policy.encoder[2], asm["encoder_out"])
    for i, block in enumerate(policy.blocks):
        p = asm["body"][f"block_{i}"]
        kernels, biases = [], []
        for part, norm in (("query", "attention_norm"), ("key", "kv_norm"), ("value", "kv_norm")):
            kernel = np.asarray(p["attention"][part]["kernel"]).reshape(width, width)
            scale, shift = np.asarray(p[norm]["scale"]), np.asarray(p[norm]["bias"])
            kernels.append((scale[:, None] * kernel).T)
            biases.append(np.asarray(p["attention"][part]["bias"]).reshape(width) + shift @ kernel)
        copy(block.self_attn.in_proj_weight, np.concatenate(kernels))
        copy(block.self_attn.in_proj_bias, np.concatenate(biases))
        dense(block.self_attn.out_proj, p["attention"]["out"])
        dense(block.linear1, p["ffn_in"])
        dense(block.linear2, p["ffn_out"])
        copy(block.norm1.weight, np.ones(width))
        copy(block.norm1.bias, np.zeros(width))
        copy(block.norm2.weight, p["ffn_norm"]["scale"])
        copy(block.norm2.bias, p["ffn_norm"]["bias"])
    copy(policy.queries, params["queries"])
    for i, head in enumerate(policy.heads):
        dense(head[0], {"kernel": heads["kernel_in"][i], "bias": heads["bias_in"][i]})
        dense(head[3], {"kernel": heads["kernel_out"][i], "bias": heads["bias_out"][i]})
