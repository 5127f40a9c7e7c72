"""The candidate: `BertModel` of `transformers`, with the settings under which it is Google's BERT; and six mistakes."""

import torch
from torch import nn
from transformers import BertConfig, BertModel

SETTINGS = {
    "vocab_size": 60,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 24,
    "type_vocab_size": 2,
    "layer_norm_eps": 1e-12,
    "hidden_act": "gelu_new",  # by tanh, as `bert.modeling.gelu` is; "gelu", the default, is by erf
    "pad_token_id": None,  # else the gradient of the row for padding is dropped, which TensorFlow keeps
}


class Port(nn.Module):
    def __init__(self, **settings):
        super().__init__()
        self.bert = BertModel(BertConfig(**{**SETTINGS, **settings}))

    def forward(self, ids, mask, segments):
        return self.named(self.bert(ids, attention_mask=self.scores(mask), token_type_ids=segments))

    def scores(self, mask):
        """What is added to the scores: -10000 on padding, as in the original; `transformers` has minus infinity."""
        return (1.0 - mask.float())[:, None, None, :] * -10000.0

    def named(self, found):
        return {"sequence": found.last_hidden_state, "pooled": found.pooler_output}


class MaskTurnedOver(Port):
    def scores(self, mask):
        return mask.float()[:, None, None, :] * -10000.0


class WithoutMask(Port):
    def forward(self, ids, mask, segments):  # noqa: ARG002 # the mistake
        return self.named(self.bert(ids, token_type_ids=segments))


class WithoutSegments(Port):
    def forward(self, ids, mask, segments):  # noqa: ARG002 # the mistake
        return self.named(self.bert(ids, attention_mask=mask))


class PositionsFromOne(Port):
    def forward(self, ids, mask, segments):
        positions = torch.arange(1, ids.shape[1] + 1)[None]  # as RoBERTa's; BERT's start at 0
        scores = self.scores(mask)
        return self.named(self.bert(ids, attention_mask=scores, token_type_ids=segments, position_ids=positions))


def build():
    return Port()


def build_with_another_epsilon():
    return Port(layer_norm_eps=1e-5)  # PyTorch's default


def build_with_another_gelu():
    return Port(hidden_act="gelu")  # the default of `transformers`


def build_with_mask_turned_over():
    return MaskTurnedOver()


def build_without_mask():
    return WithoutMask()


def build_without_segments():
    return WithoutSegments()


def build_with_positions_from_one():
    return PositionsFromOne()


def loss(outputs, batch):
    mask = batch["mask"].float()[:, :, None]
    return (outputs["sequence"] * mask - 0.5).square().mean() + outputs["pooled"].square().mean()


class BertAdam(torch.optim.Optimizer):
    """Adam without bias correction, its epsilon beside the root; weights decay, biases and normalizations do not."""

    def __init__(self, parameters, lr, decay):
        super().__init__(parameters, {"lr": lr, "betas": (0.9, 0.999), "eps": 1e-6, "decay": decay})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            one, two = group["betas"]
            for parameter in group["params"]:
                state = self.state[parameter]
                if not state:
                    state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
                state["exp_avg"].mul_(one).add_(parameter.grad, alpha=1 - one)
                state["exp_avg_sq"].mul_(two).addcmul_(parameter.grad, parameter.grad, value=1 - two)
                update = state["exp_avg"] / (state["exp_avg_sq"].sqrt() + group["eps"])
                if parameter.ndim > 1:
                    update += group["decay"] * parameter
                parameter.sub_(group["lr"] * update)


def optimizer(parameters):
    return BertAdam(parameters, lr=1e-3, decay=0.01)
