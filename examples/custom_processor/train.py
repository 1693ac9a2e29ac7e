"""A loss that jumps about, and beside it what smooth makes of it. Run it here, so that milepost.yaml is found."""

import math

import milepost

with milepost.init(project="smooth-example") as run:
    for step in range(200):
        run.log({"train/loss": 0.1 + 1 / (1 + step / 20) + 0.05 * math.sin(step * step)})

print(f"last loss {run.summary['train/loss']:.3f}, smoothed {run.summary['train/loss_smooth']:.3f}")
