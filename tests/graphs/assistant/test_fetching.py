"""Owns the checks of fetching: public pages are read, everything else is refused, and nothing takes for ever."""

import ssl
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
import trustme

from threadline.graphs.assistant import fetching
from threadline.graphs.assistant.addresses import Address, RefusedAddress, check_addresses
from threadline.graphs.assistant.fetching import FetchFailed, FetchSettings, fetch
from threadline.graphs.factories import Graph
from threadline.tests.graphs.assistant import papers
from threadline.tests.graphs.assistant.conversations import answer_of, ask, results_of
from threadline.tests.graphs.assistant.web import Page, Site, site

HERE = FetchSettings(allow_loopback=True, deadline=timedelta(seconds=30), max_bytes=64 * 1024)
LEASE = Page(b"<title>Leases</title><h1>Leases</h1><p>A lease lasts three seconds.</p><h2>End</h2><p>Then it is over.")


@pytest.fixture
def served() -> Iterator[Site]:
    """A site on this machine."""
    with site({"/lease": LEASE}) as opened:
        yield opened


@pytest.fixture
def _own_machine() -> Iterator[None]:
    fetching.configure(HERE)
    yield
    fetching.configure(FetchSettings())


class Names:
    """A resolver whose names lead where a test says, one answer after another."""

    def __init__(self, **answers: Sequence[Sequence[str]]) -> None:
        self.answers = {name.replace("_", "."): list(each) for name, each in answers.items()}
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int) -> Sequence[Address]:
        self.asked.append(host)
        if host not in self.answers:
            raise OSError("no such name")
        return [ip_address(address) for address in self.answers[host].pop(0)]


async def test_a_page_is_fetched_and_cut_at_its_headings(served: Site) -> None:
    page = await fetch(served.url("/lease#end"), HERE)
    assert page.url == served.url("/lease")
    assert [(piece.heading, piece.content) for piece in page.split.pieces] == [
        ("Leases", "A lease lasts three seconds."),
        ("Leases \u203a End", "Then it is over."),
    ]


@pytest.mark.parametrize(
    ("page", "contents"),
    [
        (Page(b"one\n\ntwo", "text/plain"), ["one\n\ntwo"]),
        (Page(b"one", None), ["one"]),
        (Page("caf\u00e9".encode("latin-1"), "text/plain; charset=iso-8859-1"), ["caf\u00e9"]),
        (Page(b"# A\n\none\n\n# B\n\ntwo", "text/markdown"), ["one", "two"]),
        (Page(papers.pdf(["on paper"]), "application/pdf"), ["on paper"]),
        (Page(b"", "text/plain"), []),
    ],
)
async def test_other_kinds_of_text_are_read_as_what_they_are(served: Site, page: Page, contents: list[str]) -> None:
    served.pages["/page"] = page
    found = await fetch(served.url("/page"), HERE)
    assert [piece.content for piece in found.split.pieces] == contents


@pytest.mark.parametrize(
    ("page", "problem"),
    [
        (Page(status=404), "answered 404 Not Found"),
        (Page(status=599), "answered 599"),
        (Page(b"\x89PNG", "image/png"), "is image/png; only HTML, PDF and plain text are read"),
        (Page(b"\x1f\x8b", headers={"Content-Encoding": "gzip"}), "is sent packed"),
        (Page(b"x" * 70_000, "text/plain"), "is larger than 64 KB"),
        (Page(b"<p>never ends ", endless=True), "is larger than 64 KB"),
        (Page(bytes(range(128)) * 9, "text/plain"), "cannot be read: it is binary"),
        (Page(b"%PDF-1.4", "application/pdf"), "cannot be read: it is no intact PDF"),
        (Page(b"\xff", "text/html; charset=utf-8"), "cannot be read: it is not UTF-8 text"),
        (Page(b"x", "text/html; charset=klingon"), "cannot be read: it is not KLINGON text"),
    ],
)
async def test_what_is_no_readable_page_is_said_so(served: Site, page: Page, problem: str) -> None:
    served.pages["/page"] = page
    with pytest.raises(FetchFailed, match=problem):
        await fetch(served.url("/page"), HERE)


async def test_a_server_that_falls_silent_is_given_up(served: Site) -> None:
    served.pages["/slow"] = Page(silent=True)
    patience = FetchSettings(allow_loopback=True, deadline=timedelta(seconds=0.3))
    with pytest.raises(FetchFailed, match=r"took more than 0\.3 seconds"):
        await fetch(served.url("/slow"), patience)


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("file:///etc/passwd", "must begin with http"),
        ("ftp://example.org/", "must begin with http"),
        ("javascript:alert(1)", "must begin with http"),
        ("//example.org", "must begin with http"),
        ("http://", "must begin with http"),
        ("", "must begin with http"),
        ("http://[::1", "is no address"),
        ("http://example.org:99999/", "is no address"),
        ("http://a:b@example.org/", "a name or a password"),
        (f"http://example.org/{'x' * 3000}", "longer than 2000"),
        (f"http://{'x' * 300}.org/", "there is no host"),
    ],
)
async def test_what_is_no_address_of_a_page_is_refused(url: str, problem: str) -> None:
    with pytest.raises(FetchFailed, match=problem):
        await fetch(url)


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "127.1", "2130706433", "0x7f000001", "localhost", "[::1]", "0.0.0.0", "[::]"),
        *("10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "224.0.0.1", "240.0.0.1"),
        *("[fe80::1]", "[fd00::1]", "[ff02::1]", "[::ffff:127.0.0.1]", "[::ffff:10.0.0.1]", "[64:ff9b::7f00:1]"),
        *("[2002:7f00:1::]", "[2001:db8::1]"),
    ],
)
async def test_addresses_inside_are_refused_in_every_spelling(host: str) -> None:
    with pytest.raises(FetchFailed, match=r"which is not on the public internet|there is no host"):
        await fetch(f"http://{host}/")


def test_public_addresses_may_be_fetched_from() -> None:
    public = [ip_address("93.184.216.34"), ip_address("2606:4700::1111")]
    assert check_addresses("example.org", public, allow_loopback=False) == public
    with pytest.raises(RefusedAddress, match="has no address"):
        check_addresses("example.org", [], allow_loopback=False)


def test_loopback_for_development_lets_nothing_else_in() -> None:
    with pytest.raises(RefusedAddress):
        check_addresses("router", [ip_address("192.168.1.1")], allow_loopback=True)


async def test_a_name_with_one_address_inside_is_refused_as_a_whole() -> None:
    names = Names(example_org=[["93.184.216.34", "10.0.0.5"]])
    with pytest.raises(FetchFailed, match=r"example\.org leads to 10\.0\.0\.5"):
        await fetch("http://example.org/", resolve=names)


async def test_the_connection_goes_to_the_address_that_was_checked(served: Site) -> None:
    names = Names(team_test=[["127.0.0.1"], ["10.0.0.5"]])
    page = await fetch(served.url("/lease", "team.test"), HERE, resolve=names)
    assert names.asked == ["team.test"]
    assert page.url == served.url("/lease", "team.test")
    assert served.asked == [("/lease", f"team.test:{served.port}")]


async def test_the_next_address_is_tried_where_nobody_answers(served: Site) -> None:
    names = Names(team_test=[["127.0.0.2", "127.0.0.1"]])
    await fetch(served.url("/lease", "team.test"), HERE, resolve=names)
    assert len(served.asked) == 1


async def test_a_redirect_is_followed_and_its_target_checked_anew(served: Site) -> None:
    served.pages["/old"] = Page(status=302, headers={"Location": "/lease"})
    assert (await fetch(served.url("/old"), HERE)).url == served.url("/lease")
    served.pages["/inside"] = Page(status=301, headers={"Location": "http://169.254.169.254/latest/meta-data"})
    with pytest.raises(FetchFailed, match=r"leads to 169\.254\.169\.254"):
        await fetch(served.url("/inside"), HERE)
    served.pages["/file"] = Page(status=301, headers={"Location": "file:///etc/passwd"})
    with pytest.raises(FetchFailed, match="must begin with http"):
        await fetch(served.url("/file"), HERE)
    served.pages["/broken"] = Page(status=301, headers={"Location": "http://[::1"})
    with pytest.raises(FetchFailed, match="is no address of a page"):
        await fetch(served.url("/broken"), HERE)


async def test_a_redirect_into_this_machine_is_refused_before_anything_is_sent(served: Site) -> None:
    served.pages["/out"] = Page(status=302, headers={"Location": served.url("/lease", "inner.test")})
    names = Names(outer_test=[["127.0.0.1"]], inner_test=[["10.0.0.1"]])
    with pytest.raises(FetchFailed, match=r"inner\.test leads to 10\.0\.0\.1"):
        await fetch(served.url("/out", "outer.test"), HERE, resolve=names)
    assert [path for path, _ in served.asked] == ["/out"]


async def test_a_circle_of_redirects_ends(served: Site) -> None:
    served.pages["/round"] = Page(status=302, headers={"Location": "/round"})
    with pytest.raises(FetchFailed, match="redirects more than 5 times"):
        await fetch(served.url("/round"), HERE)
    assert len(served.asked) == 6


async def test_a_closed_port_is_said_so(served: Site) -> None:
    with pytest.raises(FetchFailed, match="cannot be fetched"):
        await fetch("http://127.0.0.1:9/", HERE)


class Authority:
    """A certificate authority that no machine knows: its certificates, and settings that trust it."""

    def __init__(self, folder: Path) -> None:
        self._ca = trustme.CA()
        self._ca.cert_pem.write_to_path(str(folder / "authority.pem"))
        self.settings = FetchSettings(allow_loopback=True, ca_file=folder / "authority.pem")

    def vouch(self, name: str, *, until: datetime | None = None) -> ssl.SSLContext:
        """Return what a server of that name shows."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._ca.issue_cert(name, not_after=until).configure_cert(context)
        return context


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


async def test_a_page_is_fetched_over_tls_from_a_server_that_a_named_authority_vouches_for(
    authority: Authority,
) -> None:
    with site({"/lease": LEASE}, tls=authority.vouch("team.test")) as served:
        url = served.url("/lease", "team.test")
        page = await fetch(url, authority.settings, resolve=Names(team_test=[["127.0.0.1"]]))
        assert (page.url, page.split.title) == (url, "Leases")
        assert url.startswith("https://")
        with pytest.raises(FetchFailed, match=r"cannot be fetched: .*certificate"):
            await fetch(url, HERE, resolve=Names(team_test=[["127.0.0.1"]]))
        assert [path for path, _ in served.asked] == ["/lease"]


async def test_a_certificate_of_another_name_or_of_the_past_is_refused(authority: Authority) -> None:
    ended = datetime.now(UTC) - timedelta(days=1)
    refused = {"Hostname mismatch": authority.vouch("other.test"), "expired": authority.vouch("team.test", until=ended)}
    for reason, context in refused.items():
        with site({"/lease": LEASE}, tls=context) as served:
            url = served.url("/lease", "team.test")
            with pytest.raises(FetchFailed, match=rf"https://team\.test\S+ cannot be fetched: .*{reason}"):
                await fetch(url, authority.settings, resolve=Names(team_test=[["127.0.0.1"]]))
            assert served.asked == []


async def test_what_speaks_no_tls_is_said_so(served: Site, authority: Authority) -> None:
    served.scheme = "https"
    with pytest.raises(FetchFailed, match="cannot be fetched"):
        await fetch(served.url("/lease"), authority.settings)


@pytest.mark.usefixtures("_own_machine")
async def test_an_answer_cites_the_page_that_the_question_names(assistant: Graph, served: Site) -> None:
    url = served.url("/lease")
    values = await ask(assistant, f"How long does a lease last according to {url}?")
    assert answer_of(values) == f"A lease lasts three seconds [1].\n\nSources:\n[1] Leases: {url}, passage 1"


async def test_a_page_that_cannot_be_fetched_does_not_end_the_run(assistant: Graph) -> None:
    values = await ask(assistant, "What does http://127.0.0.1/secret say? What is 6*7?")
    (result,) = results_of(values, "fetch_page")
    assert result.status == "error"
    assert "not on the public internet" in answer_of(values)
    assert "6*7 = 42" in answer_of(values)
