"""ecogate: a gateway that prices, budgets, routes and traces image generation in energy, water and carbon."""

__version__ = "0.1.0"
