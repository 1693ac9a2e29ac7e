"""How property tests of media are run: with enough examples, and without a limit of time that a busy machine would break."""

from hypothesis import HealthCheck, settings

CHECKED = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
