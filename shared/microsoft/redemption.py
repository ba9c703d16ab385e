"""Redeems codes by MSAL, which does not know asyncio: called in a thread. Heavy to import: loaded with its first use."""

from typing import Any

import httpx
import msal
from pydantic import SecretStr

from shared.certificates import Certificate
from shared.microsoft import errors
from shared.ports import SignInRequest

Document = dict[str, Any]


def credential(used: SecretStr | Certificate | str) -> str | Document:
    """Return a credential as MSAL takes it: a text is a managed identity's assertion; by a certificate, MSAL signs with PS256."""
    if isinstance(used, str):
        return {"client_assertion": lambda: used}
    if isinstance(used, SecretStr):
        return used.get_secret_value()
    return {"private_key": used.private_key, "public_certificate": used.public}


def redeem(
    http: httpx.Client, authority: str, client_id: str, credential: str | Document, request: SignInRequest, code: str
) -> Document:
    """Return the token endpoint's answer to a code, or the error document that it gave instead.

    No refresh token is asked for, and no ``cp1``: its tokens live for a day and are bound to an address. The nonce is for our own
    proof of the id_token to check. Raises TransientError, httpx.TransportError, or ValueError for an answer that is no JSON or
    whose id_token is no token.
    """
    application = msal.ConfidentialClientApplication(
        client_id,
        client_credential=credential,
        authority=authority,
        instance_discovery=False,
        exclude_scopes=["offline_access"],
        http_client=_HttpClient(http),
    )
    try:
        answer: Document = application.acquire_token_by_authorization_code(
            code, list(request.scopes), request.redirect_uri, data={"code_verifier": request.verifier}
        )
    except IndexError:  # MSAL takes the id_token apart without looking
        raise ValueError("the id_token is no JSON Web Token") from None
    return answer


class _HttpClient:
    """MSAL's HTTP client (msal.oauth2cli.http) over our own connection: guarded, and trusting the same authorities.

    MSAL loses Retry-After, so a busy answer becomes our error here.
    """

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def get(self, url: str, params: Any = None, headers: Any = None, **_: Any) -> httpx.Response:
        """Send a GET request."""
        return _not_busy(self._client.get(url, params=params, headers=headers))

    def post(self, url: str, params: Any = None, data: Any = None, headers: Any = None, **_: Any) -> httpx.Response:
        """Send a POST request with a form."""
        form = {name: _text(value) for name, value in (data or {}).items() if value is not None}
        return _not_busy(self._client.post(url, params=params, data=form, headers=headers))

    def close(self) -> None:
        """Leave the connection to who opened it."""


def _text(value: Any) -> Any:
    """Return a form's value as httpx sends it: MSAL gives an assertion that it has signed as bytes."""
    return value.decode() if isinstance(value, bytes) else value


def _not_busy(response: httpx.Response) -> httpx.Response:
    if response.status_code == 429 or response.status_code >= 500:
        answer = errors.entra_answer(response.status_code, {}, errors.retry_after(response.headers))
        raise errors.error_of(answer, errors.CODE)
    return response
