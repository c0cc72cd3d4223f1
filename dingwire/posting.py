"""Posts JSON by the kept connections of a session, without what ``requests`` does for each request.

For session webhooks, of which there is one post or more a message: to the same few hosts, with the
same headers. What is the same is prepared once; what makes a request careful stays as in
``http.py``, and what makes it safe as in ``guarded.py``, whose connections are used.
"""

import json
from collections.abc import Mapping
from typing import Any

import requests
import urllib3
from requests.utils import select_proxy
from urllib3.util import Timeout, Url

from dingwire.http import (
    FAILURES,
    Answer,
    NoAnswer,
    explained,
    parsed_url,
    post_json,
    proxies_for,
    read_answer,
)

__all__ = ["JsonPoster"]

_HEADERS = {"Content-Type": "application/json; charset=utf-8", "Accept": "application/json"}


class JsonPoster:
    """Posts by one session; safe to share between threads."""

    def __init__(self, session: requests.Session, *, timeout_s: tuple[float, float]) -> None:
        """Prepare.

        Args:
            session: From :func:`dingwire.guarded.guarded_session`; ours from now on.
            timeout_s: For the connection, and for each part of the answer.
        """
        self._session, self._timeout_s = session, timeout_s
        self._timeout = Timeout(connect=timeout_s[0], read=timeout_s[1])
        self._headers = {str(k): str(v) for k, v in {**session.headers, **_HEADERS}.items()}
        self._pools: dict[tuple[str | None, str | None, int | None], Any] = {}

    def post(self, url: str, body: Mapping[str, Any]) -> Answer | NoAnswer:
        """As :func:`dingwire.http.post_json`."""
        try:
            parsed = parsed_url(url)
            pool = self._pool_of(url, parsed)
            if pool is None:
                return post_json(self._session, url, body, timeout_s=self._timeout_s)
            return self._post(pool, parsed.request_uri, body)
        except FAILURES as error:
            return explained(error)

    def _post(self, pool: urllib3.HTTPConnectionPool, path: str, body: Mapping[str, Any]) -> Answer:
        response = pool.urlopen(
            "POST",
            path,
            body=json.dumps(body, ensure_ascii=False).encode("utf-8", "replace"),
            headers=self._headers,
            retries=urllib3.Retry(0, read=False),
            redirect=False,
            assert_same_host=False,
            timeout=self._timeout,
            preload_content=False,
            decode_content=False,
        )
        try:
            return read_answer(response)
        finally:
            response.close()  # goes back to the pool before, when it was read to its end
            response.release_conn()

    def _pool_of(self, url: str, parsed: Url) -> urllib3.HTTPConnectionPool | None:
        """Return the connections that the session has for a host; None when they are a proxy's.

        Found as the session finds them: with the environment's proxies and certificates.
        """
        origin = (parsed.scheme, parsed.host, parsed.port)
        if origin not in self._pools:
            told = self._session.merge_environment_settings(url, proxies_for(url), True, None, None)
            pool = None
            if select_proxy(url, told["proxies"]) is None:
                request = requests.Request("POST", url).prepare()
                adapter: Any = self._session.get_adapter(url)
                verify, cert = told["verify"], told["cert"]
                pool = adapter.get_connection_with_tls_context(request, verify, cert=cert)
                adapter.cert_verify(pool, url, verify, cert)
            self._pools[origin] = pool
        found: urllib3.HTTPConnectionPool | None = self._pools[origin]
        return found

    def close(self) -> None:
        """Close the kept connections."""
        self._session.close()
