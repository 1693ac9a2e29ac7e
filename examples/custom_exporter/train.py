"""Two runs with different learning rates, then one question to both in SQL. Run it here, so that milepost.yaml is found."""

import math
import sqlite3

import milepost

for learning_rate in (0.01, 0.05):
    with milepost.init(project="sqlite-example", name=f"lr-{learning_rate}") as run:
        for step in range(200):
            run.log({"train": {"loss": math.exp(-learning_rate * step)}, "lr": learning_rate})

QUESTION = """
    SELECT run, min(value) FROM metric WHERE name = 'train.loss' AND step < 100
    GROUP BY run ORDER BY min(value)
"""
database = sqlite3.connect("metrics.db")
for name, loss in database.execute(QUESTION):
    print(f"{name}: loss {loss:.3f} within 100 steps")
database.close()
