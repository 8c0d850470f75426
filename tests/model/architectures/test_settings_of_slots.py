"""A map is kept only as long as settings are the same, also those of dataclasses that have slots."""

from dataclasses import dataclass

import torch

from xalign.model.architectures.same_flow import flow_of


@dataclass(slots=True)
class Settings:
    """As torchtitan has them."""

    scale: float = 1.0
    unset: int = 0

    def to_dict(self):
        return {}


def test_a_changed_setting_is_another_flow():
    model = torch.nn.Linear(2, 2)
    model.settings = Settings()
    before = flow_of(model)
    assert flow_of(model) == before
    model.settings.scale = 2.0
    assert flow_of(model) != before
    model.settings.scale = 1.0
    del model.settings.unset
    assert flow_of(model) != before
