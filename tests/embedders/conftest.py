"""Small checkpoints of embedders with random weights."""

import pytest


@pytest.fixture(scope="session")
def tiny_embedder(tmp_path_factory):
    """A contrastive embedder for volumes of 16^3, worked on at 8^3, all weights random."""
    import torch

    from napari_memscan.checkpoints.native_format import save_checkpoint
    from napari_memscan.checkpoints.recipe import ContrastiveRecipe
    from napari_memscan.embedders.contrastive_encoder import ContrastiveEncoder
    from napari_memscan.volumes.preprocessing import MinMax, Preprocessing

    recipe = ContrastiveRecipe(
        input_shape=(16, 16, 16),
        working_shape=(8, 8, 8),
        downsample=(4, 4, 4),
        n_hiddens=4,
        dim=6,
        preprocessing=Preprocessing(shape=(16, 16, 16), intensity=MinMax()),
    )
    random = torch.Generator().manual_seed(0)
    network = ContrastiveEncoder(4, (4, 4, 4), (8, 8, 8), 6)
    weights = {
        key: 0.3 * torch.randn(value.shape, generator=random)
        for key, value in network.state_dict().items()
    }
    folder = tmp_path_factory.mktemp("tiny-embedder")
    save_checkpoint(folder, recipe, {"embedder": weights})
    return folder
