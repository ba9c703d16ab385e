"""Sign-in, proof and consent: everything that a security review of the redirects reads."""
