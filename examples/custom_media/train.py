"""Log spectrograms of a rising tone, and open one of them again: python train.py"""

import numpy as np
from milepost_spectrogram import Spectrogram

import milepost

time = np.linspace(0, 1, 8000)

with milepost.init(project="spectrogram-example") as run:
    for step in range(3):
        tone = np.sin(2 * np.pi * (200 + 1500 * time * (step + 1) / 3) * time)
        run.log({"tone": Spectrogram(tone, sample_rate=8000, caption=f"step {step}")})

row = list(milepost.Api().run(run.path).scan_history())[-1]
print(row["tone"]["caption"], row["tone"]["path"], row["tone"].load().size)
