"""One thread per worker: tiny models are slower, and shared cores much slower, with several."""

import torch

torch.set_num_threads(1)
