import hypothesis

# Nothing here depends on how quick the machine is.
hypothesis.settings.register_profile(
    "requests", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("requests")
