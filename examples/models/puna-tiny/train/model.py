"""A Llama in PyTorch with Hugging Face's parameter names, and the initial values that make copying learnable."""

import math
from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import nn


@dataclass
class Config:
    vocab_size: int = 3072
    hidden_size: int = 256
    num_hidden_layers: int = 7
    num_attention_heads: int = 6
    num_key_value_heads: int = 2
    head_dim: int = 64
    intermediate_size: int = 512
    rope_theta: float = 500_000.0
    rms_norm_eps: float = 1e-5

    def to_huggingface(self, tokenizer, context: int) -> dict:
        return {**asdict(self), "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "tie_word_embeddings": True,
                "attention_bias": False, "mlp_bias": False, "max_position_embeddings": context, "torch_dtype": "float32",
                "bos_token_id": tokenizer.token_to_id("<|begin_of_text|>"),
                "eos_token_id": [tokenizer.token_to_id(t) for t in ("<|end_of_text|>", "<|eom_id|>", "<|eot_id|>")],
                "pad_token_id": tokenizer.token_to_id("<|finetune_right_pad_id|>")}


class RMSNorm(nn.Module):
    def __init__(self, size, eps):
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(size)), eps

    def forward(self, x):
        y = x.float()
        return (y * torch.rsqrt(y.pow(2).mean(-1, keepdim=True) + self.eps)).to(x.dtype) * self.weight.to(x.dtype)


def rotate(x, cos, sin):
    half = x.shape[-1] // 2
    return x * cos + torch.cat((-x[..., half:], x[..., :half]), -1) * sin


class Attention(nn.Module):
    def __init__(self, c: Config):
        super().__init__()
        self.c = c
        self.q_proj = nn.Linear(c.hidden_size, c.num_attention_heads * c.head_dim, bias=False)
        self.k_proj = nn.Linear(c.hidden_size, c.num_key_value_heads * c.head_dim, bias=False)
        self.v_proj = nn.Linear(c.hidden_size, c.num_key_value_heads * c.head_dim, bias=False)
        self.o_proj = nn.Linear(c.num_attention_heads * c.head_dim, c.hidden_size, bias=False)

    def forward(self, x, cos, sin, mask):
        b, s, _ = x.shape
        heads = lambda y: y.view(b, s, -1, self.c.head_dim).transpose(1, 2)
        q, k, v = rotate(heads(self.q_proj(x)), cos, sin), rotate(heads(self.k_proj(x)), cos, sin), heads(self.v_proj(x))
        repeat = self.c.num_attention_heads // self.c.num_key_value_heads
        k, v = k.repeat_interleave(repeat, 1), v.repeat_interleave(repeat, 1)
        # Written out: on a CPU, in bfloat16 and for rows of a few hundred tokens, twice as fast as the fused operator.
        y = torch.softmax(q @ k.transpose(-1, -2) * self.c.head_dim ** -0.5 + mask, -1) @ v
        return self.o_proj(y.transpose(1, 2).reshape(b, s, -1))


class MLP(nn.Module):
    def __init__(self, c: Config):
        super().__init__()
        self.gate_proj = nn.Linear(c.hidden_size, c.intermediate_size, bias=False)
        self.up_proj = nn.Linear(c.hidden_size, c.intermediate_size, bias=False)
        self.down_proj = nn.Linear(c.intermediate_size, c.hidden_size, bias=False)

    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    def __init__(self, c: Config):
        super().__init__()
        self.input_layernorm, self.post_attention_layernorm = RMSNorm(c.hidden_size, c.rms_norm_eps), RMSNorm(c.hidden_size, c.rms_norm_eps)
        self.self_attn, self.mlp = Attention(c), MLP(c)

    def forward(self, x, cos, sin, mask):
        x = x + self.self_attn(self.input_layernorm(x), cos, sin, mask)
        return x + self.mlp(self.post_attention_layernorm(x))


class Llama(nn.Module):
    def __init__(self, c: Config):
        super().__init__()
        self.c = c
        self.embed_tokens = nn.Embedding(c.vocab_size, c.hidden_size)
        self.layers = nn.ModuleList(Layer(c) for _ in range(c.num_hidden_layers))
        self.norm = RMSNorm(c.hidden_size, c.rms_norm_eps)

    def rope(self, length, dtype):
        half = self.c.head_dim // 2
        angles = torch.arange(length)[:, None] * self.c.rope_theta ** (-torch.arange(half) / half)
        angles = torch.cat((angles, angles), -1)
        return angles.cos().to(dtype), angles.sin().to(dtype)

    def hidden(self, ids):
        x = self.embed_tokens(ids)
        dtype = torch.bfloat16 if torch.is_autocast_enabled("cpu") else x.dtype
        cos, sin = self.rope(ids.shape[1], dtype)
        mask = torch.full((ids.shape[1], ids.shape[1]), -30_000.0, dtype=dtype).triu(1)
        for layer in self.layers:
            x = layer(x, cos, sin, mask)
        return self.norm(x)

    def logits(self, hidden):
        return F.linear(hidden, self.embed_tokens.weight.to(hidden.dtype))

    def to_huggingface(self) -> dict:
        return {"model." + name: value.detach().clone().contiguous() for name, value in self.state_dict().items()}


def initialise(model: Llama, seed: int) -> None:
    """Ordinary small random values, and on top the two heads of which copying is made (Olsson et al., 2022):

    - layer 0: a head that looks at the token before. Queries and keys come from one constant component of every
      embedding, rotated against each other by one position; the value carries the token into a subspace of its own.
    - layers 1 and 3: an induction head. The query is the current token, the key is what the previous-token head wrote;
      so it finds where the same token stood before and copies what came after it.

    All of it is free to train.
    """
    c, generator = model.c, torch.Generator().manual_seed(seed)
    normal = lambda *shape, std: torch.randn(*shape, generator=generator) * std
    for name, parameter in model.named_parameters():
        if parameter.dim() == 2:
            std = 0.02 / math.sqrt(2 * c.num_hidden_layers) if name.endswith(("o_proj.weight", "down_proj.weight")) else 0.02
            parameter.data = normal(*parameter.shape, std=std)
    content, width, half = slice(1, 192), c.head_dim, c.head_dim // 2
    # Dimension 0 is constant, 1..192 hold the token, 192..256 are free for the previous token.
    table = normal(c.vocab_size, c.hidden_size, std=0.002)
    table[:, content] = F.normalize(normal(c.vocab_size, 191, std=1.0), dim=-1)
    table[:, 0] = 1.0
    model.embed_tokens.weight.data = table
    slow = torch.tensor([i for i in range(half) if i >= 14] + [i + half for i in range(half) if i >= 14])  # barely rotate within a row
    project = normal(len(slow), 191, std=1 / math.sqrt(191)) * 1.0
    angle = c.rope_theta ** (-torch.arange(half) / half)

    attention = model.layers[0].self_attn
    q, k = torch.zeros(width, c.hidden_size), torch.zeros(width, c.hidden_size)
    k[:half, 0] = 1.0
    q[:half, 0], q[half:, 0] = torch.cos(-angle), torch.sin(-angle)  # a query at m looks for m - 1
    strength = 0.5  # after RMSNorm the constant is about 11, so scores fall by several units within one position
    attention.q_proj.weight.data[:width], attention.k_proj.weight.data[:width] = q * strength, k
    v = torch.zeros(width, c.hidden_size)
    v[slow, 1:192] = project
    attention.v_proj.weight.data[:width] = v
    back = torch.zeros(c.hidden_size, width)
    back[192:192 + width, :] = torch.eye(width) * 0.05
    attention.o_proj.weight.data[:, :width] = back

    for layer, gain in ((1, 1.0), (3, 0.6)):
        attention = model.layers[layer].self_attn
        q, k = torch.zeros(width, c.hidden_size), torch.zeros(width, c.hidden_size)
        q[slow, 1:192] = project * gain * 4.0
        k[:, 192:192 + width] = torch.eye(width) * gain * 4.0
        attention.q_proj.weight.data[:width], attention.k_proj.weight.data[:width] = q, k
        copy = normal(width, 191, std=1 / math.sqrt(191))
        v = torch.zeros(width, c.hidden_size)
        v[:, 1:192] = copy
        attention.v_proj.weight.data[:width] = v
        out = torch.zeros(c.hidden_size, width)
        out[1:192, :] = copy.T * gain
        attention.o_proj.weight.data[:, :width] = out
