"""What the arguments of a forward say, under the names that releases of transformers give them."""

import pytest
from transformers import DynamicCache

from xalign.model.forward_facts import cache_length, cache_of


@pytest.mark.parametrize("name", ["past_key_values", "cache"])  # up to transformers 5.23, and from 5.24 on
def test_a_cache_is_found_under_either_name(name):
    cache = DynamicCache()
    assert cache_of({"input_ids": None, name: cache}) is cache
    assert cache_of({"past_key_values": None, "cache": None} | {name: cache}) is cache


def test_without_a_cache_nothing_has_been_seen():
    assert cache_length(cache_of({"past_key_values": None, "use_cache": True})) == 0
