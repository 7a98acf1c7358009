"""Who evaluates a body: compiled code, torch, sympy, heyoka."""
