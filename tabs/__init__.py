"""The page: one module a tab, the shared bar, the public endpoints, and what draws."""
