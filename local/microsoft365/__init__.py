"""The simulated Microsoft 365: identity platform, Graph and Exchange Online over TLS, for one machine without a tenant."""
